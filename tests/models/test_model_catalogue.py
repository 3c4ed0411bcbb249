"""The catalogue and the provenance: plain data that needs no torch and says what is allowed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

import resbench.models
from resbench.models import (
    NETWORKS,
    OPTIONS,
    PROVENANCE,
    ZOO,
    build,
    count_parameters,
    resolve_options,
)
from resbench.models.catalogue import zoo_entry


def test_names_options_sizes_and_provenance_are_read_without_torch() -> None:
    code = (
        "import sys, resbench.models as m\n"
        "m.resolve_options('wang2017', 'attention-56', {'mask': 'local'})\n"
        "assert len(m.ZOO) > 10 and m.PROVENANCE['report2019']\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "m.build\n"
        "assert 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_everything_public_can_be_reached_and_nothing_else() -> None:
    for name in resbench.models.__all__:
        assert getattr(resbench.models, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'biuld'"):
        resbench.models.biuld  # noqa: B018


@pytest.mark.parametrize(
    ("family", "name", "options", "message"),
    [
        (
            "wang",
            "attention-56",
            {},
            f"unknown family 'wang'. Allowed: {', '.join(NETWORKS)}.",
        ),
        (
            "report2019",
            "attention-128",
            {},
            "unknown network 'attention-128' in family 'report2019'. "
            "Allowed: attention-56, attention-92.",
        ),
        (
            "he2016",
            "resnet-164",
            {"mask": "local"},
            "unknown option 'mask' of family 'he2016'. Allowed: none.",
        ),
        (
            "wang2017",
            "attention-56",
            {"masks": "local"},
            "unknown option 'masks' of family 'wang2017'. Allowed: learning, mask, activation.",
        ),
        (
            "wang2017",
            "attention-56",
            {"activation": "softmax"},
            "option 'activation' cannot be 'softmax'. Allowed: mixed, channel, spatial.",
        ),
        (
            "report2019",
            "attention-56",
            {"fix_trunk": 1},
            "option 'fix_trunk' cannot be 1. Allowed: true, false.",
        ),
        (
            "report2019",
            "attention-56",
            {"dropout": 1.0},
            "option 'dropout' cannot be 1.0. Allowed: a number from 0 to below 1.",
        ),
        (
            "report2019",
            "attention-56",
            {"dropout": True},
            "option 'dropout' cannot be True. Allowed: a number from 0 to below 1.",
        ),
    ],
)
def test_what_is_unknown_is_refused_with_what_is_allowed(
    family: str, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match="Allowed") as error:
        build(family, name, **options)
    assert str(error.value) == message


def test_options_left_out_and_options_spelt_out_resolve_alike() -> None:
    for family, names in NETWORKS.items():
        defaults = {key: option.default for key, option in OPTIONS[family].items()}
        assert resolve_options(family, names[0], {}) == defaults
        assert resolve_options(family, names[0], defaults) == defaults
    zero = resolve_options("report2019", "attention-56", {"dropout": 0})["dropout"]
    assert isinstance(zero, float)


def test_every_network_is_in_the_zoo_under_its_own_label() -> None:
    assert {(entry.family, entry.name) for entry in ZOO} == {
        (family, name) for family, names in NETWORKS.items() for name in names
    }
    assert len({(entry.family, entry.label) for entry in ZOO}) == len(ZOO)
    for entry in ZOO:
        resolved = resolve_options(entry.family, entry.name, entry.options)
        assert resolved.items() >= dict(entry.options).items()


def test_choices_that_no_source_states_carry_their_reason() -> None:
    assert PROVENANCE.keys() == NETWORKS.keys()
    for family, marks in PROVENANCE.items():
        assert len({mark.item for mark in marks}) == len(marks), family
        for mark in marks:
            if mark.origin in ("inferred", "deviation"):
                assert mark.reason, f"{family}: {mark.item}"
            else:
                assert mark.origin in ("paper", "paper-code", "report", "report-code")
    inferred = {mark.item for mark in PROVENANCE["wang2017"] if mark.origin == "inferred"}
    assert {"channel widths", "poolings of the mask", "their place"} <= inferred


@pytest.mark.parametrize("name", ["attention-92", "attention-164"])
def test_a_network_without_a_row_of_its_own_has_that_of_its_size(name: str) -> None:
    options: dict[str, Any] = {"learning": "nal", "mask": "encoder-decoder", "activation": "mixed"}
    entry = zoo_entry("wang2017", name, options)
    assert entry is not None
    with torch.device("meta"):
        assert count_parameters(build("wang2017", name, **options)) == entry.parameters_10
    assert zoo_entry("wang2017", name, {**options, "mask": "local"}) is None


def test_arl_and_nal_of_the_report_as_trained_differ_in_size() -> None:
    options: dict[str, Any] = {
        "unit": "residual",
        "skips": "code",
        "fix_trunk": False,
        "as_trained": True,
        "batch_norm": True,
        "dropout": 0.4,
    }
    arl = zoo_entry("report2019", "attention-56", {**options, "learning": "arl"})
    assert arl is not None
    assert arl.label == "Attention-56, as trained"
    assert zoo_entry("report2019", "attention-56", {**options, "learning": "nal"}) is None
