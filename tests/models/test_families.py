"""What the families declare: plain data that needs no torch and says what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from msgspec import to_builtins
from msgspec.structs import asdict, fields, replace

from resbench.models import FAMILIES, ZOO, Network, build, zoo_entry
from resbench.models.count import count_parameters
from tests.mini import names_of


def network(family: str, name: str, **options: Any) -> Network:
    return FAMILIES[family].of(name, 1.0, options)


@pytest.mark.parametrize(
    ("family", "name", "options", "message"),
    [
        ("wang", "attention-56", {}, "unknown family 'wang'. Allowed: wang2017, he2016, rep"),
        ("report2019", "attention-128", {}, "'attention-128' - at `$.name`"),
        ("he2016", "resnet-164", {"mask": "local"}, "unknown field `mask`"),
        ("wang2017", "attention-56", {"masks": "local"}, "unknown field `masks`"),
        ("wang2017", "attention-56", {"activation": "softmax"}, "'softmax' - at `$.activation`"),
        ("report2019", "attention-56", {"fix_trunk": 1}, "Expected `bool`, got `int`"),
        ("report2019", "attention-56", {"dropout": 1.0}, "`float` < 1.0 - at `$.dropout`"),
        ("report2019", "attention-56", {"dropout": True}, "Expected `float`, got `bool`"),
        ("he2016", "resnet-164", {"width": 0}, "`float` > 0.0 - at `$.width`"),
    ],
)
def test_what_is_unknown_is_refused_by_name(
    family: str, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        build(family, name, **options)
    assert message in str(error.value)


def test_a_run_states_every_option_but_a_later_one_that_it_does_not_use() -> None:
    later = {("report2019", "head_norm")}
    for family in FAMILIES.values():
        optional = {field.name for field in fields(family.network) if not field.required}
        assert {(family.name, name) for name in optional} <= later, family.name


def test_a_later_option_leaves_the_keys_of_the_runs_before_it() -> None:
    plain = to_builtins(network("report2019", "attention-56"))
    assert "head_norm" not in plain
    assert plain == to_builtins(network("report2019", "attention-56", head_norm=False))
    changed = to_builtins(network("report2019", "attention-56", head_norm=True))
    assert changed == {**plain, "head_norm": True}


def test_options_left_out_and_options_spelt_out_are_one_network() -> None:
    for family in FAMILIES.values():
        left_out = family.of(names_of(family)[0], 1.0, {})
        assert asdict(left_out).items() >= dict(family.usual).items()
        assert family.of(names_of(family)[0], 1.0, family.usual) == left_out
    zero = asdict(network("report2019", "attention-56", dropout=0))["dropout"]
    assert isinstance(zero, float)


def test_every_network_is_in_the_zoo_under_its_own_label() -> None:
    assert {(entry.family, entry.name) for entry in ZOO} == {
        (family.name, name) for family in FAMILIES.values() for name in names_of(family)
    }
    assert len({(entry.family, entry.label) for entry in ZOO}) == len(ZOO)


def test_choices_that_no_source_states_carry_their_reason() -> None:
    for family, declared in FAMILIES.items():
        marks = declared.provenance
        assert len({mark.item for mark in marks}) == len(marks) > 5, family
        for mark in marks:
            if mark.origin in ("inferred", "deviation"):
                assert mark.reason, f"{family}: {mark.item}"
            else:
                assert mark.origin in ("paper", "paper-code", "report", "report-code")
    inferred = {mark.item for mark in FAMILIES["wang2017"].provenance if mark.origin == "inferred"}
    assert {"channel widths", "poolings of the mask", "their place"} <= inferred


@pytest.mark.parametrize("name", ["attention-92", "attention-164"])
def test_a_network_without_a_row_of_its_own_has_that_of_its_size(name: str) -> None:
    nal = network("wang2017", name, learning="nal")
    entry = zoo_entry(nal)
    assert entry is not None
    with torch.device("meta"):
        model = build("wang2017", **asdict(nal))
    assert count_parameters(model) == entry.parameters_10
    assert zoo_entry(replace(nal, width=0.25)) == entry
    assert zoo_entry(network("wang2017", name, learning="nal", mask="local")) is None


def test_arl_and_nal_of_the_report_as_trained_differ_in_size() -> None:
    arl = network("report2019", "attention-56", as_trained=True)
    entry = zoo_entry(arl)
    assert entry is not None
    assert entry.label == "Attention-56, as trained"
    assert zoo_entry(replace(arl, learning="nal")) is None
