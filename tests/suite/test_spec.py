"""The run specification and its key: everything that decides a result, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from resbench.suite import spec
from resbench.suite.spec import RunSpec, derive_seed, key_of, plain_to

from ..mini import REPORT, changed, leaves, spec_of

GOLDEN = "b73047f4ec1fc5f30e3388cfc4bebeea857066b686ec2052be850444819ee20d"
SEEDS = [7294837044416468560, 6605189568118452993, 4778590553084473167]
OTHERS: dict[str, Any] = {
    "model.family": None,  # with it, other settings change
    "model.name": "attention-92",
    "data.name": "cifar10",
    "training.optim.name": "adam",
    "training.schedule.unit": "step",
    "learning": "nal",
    "mask": "local",
    "skips": "printed",
    "activation": "channel",
    "unit": "inception",
    "id": "sha256:other",
    "image_px": 4,
    "first": 100,
    "noise": "redrawn",
    "kind": "affine",
    "normalise": "none",
    "init": "glorot",
    "decay": "fc",
    "drops": [],
    "warmup": {"until": 1, "lr": 0.01},
    "early_stopping": {"patience": 2},
    "tier": "tiny",
    "scale": 0.5,
    "engine": "graph",
    "precision": "bf16",
}
"""Another value of each setting that is not simply another number or truth value."""


def other(path: str, value: Any) -> Any:
    for name in (path, path.rpartition(".")[2]):
        if name in OTHERS:
            return OTHERS[name]
    if isinstance(value, bool):
        return not value
    return (value / 2 or 0.5) if isinstance(value, float) else value + 1


def test_the_key_of_a_known_run_never_changes() -> None:
    assert key_of(spec_of().canonical(), 2) == GOLDEN


@pytest.mark.parametrize("report", [False, True])
def test_every_setting_enters_the_key(report: bool) -> None:
    family = {"model": REPORT["model"]} if report else {}
    run = spec_of(**family, training__val_in_train=16)
    keys = {run.key}
    for path, value in leaves(run.canonical()):
        replacement = other(path, value)
        if replacement is None:
            continue
        altered = plain_to(RunSpec, changed(run.canonical(), {path: replacement}))
        assert altered.key not in keys, path
        keys.add(altered.key)


def test_the_key_does_not_depend_on_order_or_spelling() -> None:
    value = spec_of().canonical()
    backwards = dict(reversed(list(value.items())))
    backwards["training"] = dict(reversed(list(value["training"].items())))
    assert plain_to(RunSpec, backwards).key == spec_of().key
    spelled = changed(value, {"training.schedule.total": 4.0, "training.optim.lr": 5e-2})
    assert plain_to(RunSpec, spelled).key == spec_of().key


def test_numerics_versions_have_different_keys() -> None:
    value = spec_of().canonical()
    assert len({key_of(value, numerics) for numerics in range(1, 5)}) == 4


def test_a_specification_survives_json() -> None:
    run = spec_of(**REPORT)
    assert plain_to(RunSpec, run.canonical()) == run


def test_nothing_has_a_default() -> None:
    parts = [item for item in vars(spec).values() if isinstance(item, type)]
    for part in [part for part in parts if issubclass(part, spec.Frozen)]:
        optional = [field.name for field in fields(part) if not field.required]
        assert not optional, f"{part.__name__}.{optional} would not be written in any suite"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("training.optim.lr", float("nan")),
        ("training.optim.lr", float("inf")),
        ("training.optim.lr", 0.0),
        ("training.batch_size", True),
        ("training.batch_size", 16.5),
        ("training.batch_size", "16"),
        ("data.clean_ratio", 1.1),
        ("model.width", -1),
        ("model.depth", 3),
        ("seed", -1),
        ("seed", 2**31),
        ("scale", 0),
        ("training.early_stopping", {"patience": 3}),
    ],
)
def test_what_no_run_can_have_is_refused(path: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected|unknown field|compliant|watches"):
        plain_to(RunSpec, changed(spec_of().canonical(), {path: value}))


def test_known_seeds_never_change() -> None:
    assert [derive_seed(1, "init"), derive_seed(1, "order", 7), derive_seed(2, "order", 7)] == SEEDS


purposes = st.sampled_from(["init", "order", "augment", "noise", "dropout"])
parts = st.tuples(st.integers(0, 2**31 - 1), purposes, st.integers(1, 10_000))


@given(first=parts, second=parts)
def test_seeds_differ_between_seed_purpose_and_epoch(
    first: tuple[int, str, int], second: tuple[int, str, int]
) -> None:
    a, b = derive_seed(*first), derive_seed(*second)
    assert (a == b) == (first == second)
    assert 0 <= a < 2**63
