"""Layers of settings become one checked specification a cell."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import to_builtins

from resbench.errors import ResbenchError, UsageError
from resbench.suite.expand import Context, DataChoice, Expanded, data_names, expand
from resbench.suite.load import load_suite, suite_folder
from resbench.suite.messages import validate
from resbench.suite.schema import Tier
from resbench.suite.spec import RunSpec
from resbench.suite.yaml import DocumentError, load_document

from ..mini import changed, suite_of, write_suite

TIER = {
    "name": "small",
    "schedule": {"unit": "epoch", "total": 2},
    "families": {"wang2017": {}},
}
HE2016 = {"family": "he2016", "name": "resnet-164", "width": 1.0}
DATA = {name: DataChoice(name, name, f"md5:{name}") for name in ("cifar10", "digits")}


def expanded(
    folder: Path,
    suite: dict[str, Any] | None = None,
    tier: dict[str, Any] | None = None,
    **context: Any,
) -> Expanded:
    """Expand the mini suite, or ``suite``, under a tier and a context."""
    loaded = load_suite(str(write_suite(folder, suite)))
    where = Context("eager", "fp32", DATA, tier["name"] if tier else "paper", **context)
    if tier is None:
        return expand(loaded, where)
    path = folder / "small.yaml"
    path.write_text(json.dumps({"version": 1, "title": "t", "description": "d"} | tier))
    document = load_document(path)
    return expand(loaded, where, (validate(Tier, document), document))


def spec(expanded: Expanded, cell: str = "arl") -> RunSpec:
    found = expanded.cell(cell).spec
    assert found is not None
    return found


def with_level(settings: dict[str, Any], **suite: Any) -> dict[str, Any]:
    """The mini suite with other settings at level ``nal``."""
    return changed(suite_of(**suite), {"matrix.learning.nal.set": settings})


def test_a_cell_that_a_tier_makes_equal_to_another_is_not_trained_under_its_label(
    tmp_path: Path,
) -> None:
    lr = "training.optim.lr"
    suite = with_level({lr: 0.03})  # and the level arl at the rate of the base: two experiments
    suite["matrix"]["learning"]["arl"]["set"] = {}
    assert [cell.skip for cell in expanded(tmp_path, suite).cells] == [None, None]
    for setting in ({"tier": {"name": "small", "set": {lr: 0.04}}}, {"overrides": ((lr, 0.04),)}):
        first, second = expanded(tmp_path, suite, **setting).cells
        assert (first.skip, second.spec) == (None, None)
        assert second.skip == f"in this setting it is the same experiment as {first.id}"


def test_each_layer_overrules_the_last(tmp_path: Path) -> None:
    lr = "training.optim.lr"
    suite = with_level({lr: 0.03, "model.learning": "nal"})
    del suite["base"]["training"]["optim"]
    tier = {"name": "small", "set": {lr: 0.04}}
    assert spec(expanded(tmp_path, suite)).training.optim.lr == 0.1, "the protocol's"
    suite["base"]["training"]["optim"] = {"lr": 0.02}
    both = expanded(tmp_path, suite)
    assert (spec(both).training.optim.lr, spec(both, "nal").training.optim.lr) == (0.02, 0.03)
    small = expanded(tmp_path, suite, tier)
    assert spec(small, "nal").training.optim.lr == 0.04
    over = expanded(tmp_path, suite, tier, overrides=((lr, 0.05),))
    assert spec(over, "nal").training.optim.lr == 0.05
    layers = [e.cell("nal").leaves[("training", "optim", "lr")].layer for e in (both, small, over)]
    assert layers == ["matrix learning", "tier small", "command line"]


def test_a_whole_model_replaces_a_model_and_a_part_changes_it(tmp_path: Path) -> None:
    both = expanded(tmp_path, with_level({"model": HE2016}))
    assert to_builtins(spec(both, "nal").model) == HE2016
    assert to_builtins(spec(both, "arl").model)["mask"] == "encoder-decoder"
    part = expanded(tmp_path, with_level({"model": {"width": 0.5}}))
    assert spec(part, "nal").model.width == 0.5


def test_every_setting_has_its_position_and_layer(tmp_path: Path) -> None:
    leaves = expanded(tmp_path).cell("arl").leaves
    files = {leaf.layer: leaf.position.file.name for leaf in leaves.values()}
    assert files == {"protocol wang2017": "wang2017.yaml", "suite": "mini.yaml"}
    place = leaves[("model", "width")].position
    line = place.file.read_text().splitlines()[place.line - 1]
    assert '"width": 0.125' in line


@given(
    total=st.integers(10, 200_000),
    at=st.lists(st.floats(0.05, 0.95), max_size=3).map(sorted),
    new_total=st.integers(1, 200_000),
)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
def test_a_tier_keeps_drops_and_warm_up_at_their_fractions(
    tmp_path: Path, total: int, at: list[float], new_total: int
) -> None:
    schedule: dict[str, Any] = {
        "unit": "step",
        "total": total,
        "drops": [{"at": max(1, round(share * total)), "factor": 0.1} for share in at],
        "warmup": {"until": max(1, total // 100), "lr": 0.01},
    }
    suite = changed(suite_of(), {"base.training.schedule": schedule})
    tier = {"name": "small", "schedule": {"unit": "step", "total": new_total}}
    new = spec(expanded(tmp_path, suite, tier)).training.schedule
    assert new.total == new_total
    scale = new_total / total
    for before, after in zip(schedule["drops"], new.drops, strict=True):
        assert abs(after.at - scale * before["at"]) <= 1
        assert after.factor == 0.1
    assert new.warmup is not None
    assert abs(new.warmup.until - scale * schedule["warmup"]["until"]) <= 1


@pytest.mark.parametrize(
    ("unit", "total", "drops", "schedule", "expected"),
    [
        ("step", 160_000, (64_000, 96_000), {"total": 10}, [4, 6]),
        ("epoch", 150, range(20, 150, 20), {"total": 15, "plateau": 5}, [6, 12]),
        ("epoch", 150, (50, 100), {"total": 15, "plateau": 5}, [5, 10]),
    ],
)
def test_a_tier_shortens_the_schedule_in_its_own_unit_without_drops_that_come_too_soon(
    tmp_path: Path, unit: str, total: int, drops: Any, schedule: Any, expected: list[int]
) -> None:
    long = {"unit": unit, "total": total, "drops": [{"at": at, "factor": 0.1} for at in drops]}
    suite = changed(suite_of(), {"base.training.schedule": long})
    tier = {"name": "small", "schedule": {"unit": "epoch", **schedule}}
    new = spec(expanded(tmp_path, suite, tier)).training.schedule
    assert (new.unit, new.total) == ("epoch", schedule["total"])
    assert [drop.at for drop in new.drops] == expected


def test_a_tier_gives_one_family_its_own_settings_and_length(tmp_path: Path) -> None:
    families = {"he2016": {"model.width": 0.25}, "wang2017": {}}
    tier = TIER | {"families": families, "schedules": {"he2016": {"unit": "epoch", "total": 3}}}
    both = expanded(tmp_path, with_level({"model": HE2016}), tier)
    for cell, width, total in (("arl", 0.125, 2), ("nal", 0.25, 3)):
        run = spec(both, cell)
        assert (run.model.width, run.training.schedule.total) == (width, total)


def test_a_shorter_schedule_has_less_patience_but_some(tmp_path: Path) -> None:
    stopping = {"early_stopping": {"patience": 10}, "val_in_train": 8}
    suite = changed(suite_of(total=10), {f"base.training.{k}": v for k, v in stopping.items()})
    for total, patience in ((10, 10), (4, 4), (0.1, 1)):
        tier = {"name": "small", "schedule": {"unit": "epoch", "total": total}}
        stopping_now = spec(expanded(tmp_path, suite, tier)).training.early_stopping
        assert stopping_now is not None
        assert stopping_now.patience == patience


def test_patience_is_in_epochs_whatever_the_unit_of_the_schedule(tmp_path: Path) -> None:
    """Four steps an epoch: 40 steps are ten epochs, and 20 are five."""
    stopping = {"early_stopping": {"patience": 10}, "val_in_train": 8}
    changes = {f"base.training.{k}": v for k, v in stopping.items()}
    changes |= {"base.data.first": 64, "base.data.train_images": None}
    for old, new in (
        ("epoch", {"unit": "step", "total": 20}),
        ("step", {"unit": "epoch", "total": 5}),
    ):
        schedule: dict[str, Any] = {"unit": old, "total": 10 if old == "epoch" else 40, "drops": []}
        suite = changed(suite_of(), {**changes, "base.training.schedule": schedule})
        shorter = spec(expanded(tmp_path, suite, {"name": "small", "schedule": new}))
        assert shorter.training.early_stopping is not None
        assert shorter.training.early_stopping.patience == 5


def test_seeds_come_from_the_call_the_tier_or_the_suite_in_this_order(tmp_path: Path) -> None:
    suite = suite_of(seeds=(5, 6))
    assert expanded(tmp_path, suite).seeds == (5, 6)
    tier = {"name": "small", "seeds": [7]}
    small = expanded(tmp_path, suite, tier)
    assert small.seeds == (7,)
    loaded = load_suite(str(write_suite(tmp_path, suite)))
    named = expand(loaded, Context("eager", "fp32", DATA), seeds=(1, 2, 3))
    assert named.seeds == (1, 2, 3)
    assert (small.declared_seeds, named.declared_seeds) == ((7,), (5, 6))  # looks are of these
    assert [named.cell("arl").at_seed(seed).seed for seed in named.seeds] == [1, 2, 3]


@pytest.mark.parametrize(
    ("seeds", "message"),
    [([1, 1, 2], "seeds must differ"), ([], "'seeds' must be a list of length >= 1")],
)
@pytest.mark.parametrize("tier", [None, {"name": "small"}])
def test_seeds_that_are_no_seeds_are_refused_in_a_suite_and_in_a_tier(
    tmp_path: Path, tier: dict[str, Any] | None, seeds: list[int], message: str
) -> None:
    suite = suite_of() | ({"seeds": seeds} if tier is None else {})
    with pytest.raises(DocumentError, match=message):
        expanded(tmp_path, suite, None if tier is None else tier | {"seeds": seeds})


def test_a_skipped_cell_says_why_and_has_no_run(tmp_path: Path) -> None:
    suite = suite_of() | {"skips": [{"where": {"learning": "nal"}, "reason": "no mask"}]}
    cell = expanded(tmp_path, suite).cell("nal")
    assert (cell.spec, cell.skip) == (None, "no mask")


def test_a_skip_is_of_the_cells_that_have_all_of_its_levels(tmp_path: Path) -> None:
    suite = suite_of() | {"skips": [{"where": {"learning": "nal", "rate": "low"}, "reason": "no"}]}
    rates = {"low": 0.01, "high": 0.1}
    suite["matrix"]["rate"] = {
        name: {"label": name, "set": {"training.optim.lr": lr}} for name, lr in rates.items()
    }
    suite["table"]["columns"]["err"]["where"] = {"rate": "low"}
    skipped = [cell.id for cell in expanded(tmp_path, suite).cells if cell.skip]
    assert skipped == ["nal/low"]


def test_an_unknown_cell_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown cell 'arI' in suite 'mini'.*mean 'arl'"):
        expanded(tmp_path).cell("arI")


def test_base_takes_dotted_settings_as_levels_do(tmp_path: Path) -> None:
    base = suite_of()["base"] | {"training.optim.lr": 0.5}
    dotted = spec(expanded(tmp_path, suite_of() | {"base": base}), "arl")
    nested = spec(expanded(tmp_path, changed(suite_of(), {"base.training.optim.lr": 0.5})), "arl")
    assert dotted.training.optim.lr == 0.5
    assert dotted.key == nested.key


def test_data_sets_are_found_in_every_layer(tmp_path: Path) -> None:
    level = load_suite(str(write_suite(tmp_path, with_level({"data": {"name": "cifar10"}}))))
    assert data_names(level) == ["cifar10", "digits"]
    dotted = load_suite(str(write_suite(tmp_path, with_level({"data.name": "cifar100"}))))
    assert data_names(dotted) == ["cifar100", "digits"]
    assert data_names(dotted, overrides=(("data.name", "cifar10"),)) == [
        "cifar10",
        "cifar100",
        "digits",
    ]
    tier = Tier(version=1, name="t", title="T", description="D",
                families={"wang2017": {"data.name": "cifar10"}})  # fmt: skip
    assert data_names(dotted, tier) == ["cifar10", "cifar100", "digits"]
    both = expanded(tmp_path, with_level({"data": {"name": "cifar10"}}))
    assert spec(both, "nal").data.id == "md5:cifar10"
    moved = expanded(tmp_path, overrides=(("data.name", "cifar10"),))
    used = [list(each.context.data) for each in (both, expanded(tmp_path), moved)]
    assert used == [["cifar10", "digits"], ["digits"], ["cifar10"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base.data": 5}, "mini.yaml:13:3: 'data' must be a mapping, not the number 5."),
        ({"base.data": {}}, ":1: missing key 'name' in 'data'. Add it here, or under 'base' in"),
        ({"base.data.id": "sha256:0"},
         "'id' in 'data' is always taken from the available images. Delete it"),
        ({"base.model.code": "x"},
         "'code' in 'model' is always taken from networks.py. Delete it."),
        ({"matrix.learning.nal.set": {"data.id": "x"}},
         "'id' in 'data' is always taken from the avail"),
        ({"base.data.name": "cifar11"}, "Did you mean 'cifar10'?"),
        ({"base.tier": "tiny"}, "unknown key 'tier'. Allowed: model, data, training."),
        ({"base.seed": {"x": 1}}, "unknown key 'seed'"),
        ({"base.model.family": [1]}, "'family' in 'model' must be text"),
        ({"base.training.schedule.drops": 5}, "'drops' in 'training.schedule' must be a list"),
        ({"base.training.schedule.drops": [3]}, "'drops[0]' in 'training.schedule' must be a map"),
        ({"base.training.schedule.total": "long"}, "'total' in 'training.schedule' must be a numb"),
        ({"base.training.schedule.total": 0}, "must be a number > 0, not the number 0."),
        ({"base.training.early_stopping": {"patience": 3}}, "early_stopping watches val_in_train"),
        ({"seeds": [2**31]}, "seeds"),
        ({"matrix.depth": {"d": {"label": "d"}}},
         "column 'err' must choose a level of the axis 'depth'"),
        ({"claims": [{"id": "c", "text": "t", "place": "p", "claim": "error(x) < error(arl)"}]},
         "unknown cell"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_reported_at_its_position(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    for under in (None, TIER):
        with pytest.raises(DocumentError) as error:
            expanded(tmp_path, changed(suite_of(), change), under)
        assert message in str(error.value)
        assert "mini.yaml" in str(error.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text("ab.-1"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner, max_size=2),
    max_leaves=4,
)
places = st.sampled_from(
    ["base", "base.data", "base.model", "base.model.family", "base.training",
     "base.training.schedule", "base.training.schedule.total", "base.training.schedule.drops",
     "base.training.schedule.unit", "base.training.optim", "base.data.name", "seeds", "skips",
     "matrix.learning.nal.set", "matrix", "table.columns.err", "protocol"]
)  # fmt: skip


@given(place=places, value=json_values)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150
)
@example(place="base.training.schedule.total", value=-1)
def test_no_value_anywhere_ends_in_anything_but_a_run_or_an_error_with_a_position(
    tmp_path: Path, place: str, value: Any
) -> None:
    suite, problem = changed(suite_of(), {place: value}), "mini.yaml:1:1: "
    try:
        loaded = load_suite(str(write_suite(tmp_path, suite)))
        data_names(loaded)
        expanded(tmp_path, suite)
        expanded(tmp_path, suite, TIER)
    except ResbenchError as error:
        problem = str(error)
    assert "mini.yaml" in problem
    assert re.search(r"\.yaml:\d+:\d+: ", problem)


def test_a_missing_key_is_located_in_the_protocol_that_lacks_it(tmp_path: Path) -> None:
    shipped = (suite_folder() / "protocols" / "wang2017.yaml").read_text()
    (tmp_path / "protocols").mkdir()
    own = tmp_path / "protocols" / "wang2017.yaml"
    own.write_text(shipped.replace("\n  bn_eps:", "\n  # bn_eps:", 1))
    line = 1 + own.read_text().splitlines().index("training:")
    with pytest.raises(DocumentError) as error:
        expanded(tmp_path)
    missing = f"{own}:{line}:1: missing key 'bn_eps' in 'training'. Add it here, or under 'base' in"
    assert str(error.value).startswith(missing)
