from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from resbench.analysis.compare import CellPair, Comparison, compare, select
from resbench.errors import UsageError
from resbench.store.layout import RunFolder
from resbench.store.predictions import Predictions, read_predictions, write_predictions
from resbench.store.records import read_record, write_record
from resbench.suite.expand import DataChoice
from resbench.suite.spec import NUMERICS
from tests import factory
from tests.cli.invoke import Shell
from tests.factory import plant, suite_under

Sides = tuple[Path, Path]
SUITE, CELL = "table3_mask", "encoder-decoder"


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    """Two folders with the same three runs."""
    for seed, error in enumerate((6.0, 6.2, 6.5), 1):
        plant(tmp_path / "a", suite_under(SUITE), CELL, seed, test=[9.0, 7.0, error])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


def compared(a: object, b: object, results: Path = Path("none")) -> Comparison:
    return compare(select(str(a), results), select(str(b), results))


def pair(
    a: Path, b: Path, errors_a: list[float], errors_b: list[float], *, images: int | None = None
) -> CellPair:
    """Compare two engines on one cell, an error per seed each."""
    for folder, errors, engine in ((a, errors_a, "eager"), (b, errors_b, "graph")):
        expanded = suite_under(SUITE, engine=engine)
        for seed, error in enumerate(errors, 1):
            plant(folder, expanded, CELL, seed, test=[9.0, error], images=images)
    (found,) = compared(a, b).cells
    return found


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    """A comparison names its folders itself."""
    return Shell(capsys, None)


def run_of(folder: Path, seed: int, **context: Any) -> RunFolder:
    return RunFolder(folder, suite_under(SUITE, **context).cell(CELL).at_seed(seed).key)


def test_copies_are_identical_and_exit_0(sides: Sides, shell: Shell) -> None:
    outcome = shell("compare", *sides)
    assert outcome.code == 0
    assert "3 runs with the same key: errors, curves and predictions are identical." in outcome.out


def test_a_run_of_equal_key_with_another_number_is_named_and_exits_1(
    sides: Sides, shell: Shell
) -> None:
    shutil.rmtree(run_of(sides[1], 2).path)
    plant(sides[1], suite_under(SUITE), CELL, 2, test=[9.0, 7.0, 6.3], environment={"torch": "9.9"},
          code={"commit": "d" * 40})  # fmt: skip
    outcome = shell("compare", *sides, "--format", "markdown")
    assert outcome.code == 1
    for text in (
        f"{SUITE} {CELL} seed 2",
        "result.test_top1_err 6.2 against 6.3",
        "predictions.npz: 1 of 1,000 images classified differently",
        "metrics.jsonl: different from epoch 1 on",  # of its loss
        "Code 0.1.0 c0ffeec0ff against 0.1.0 dddddddddd; torch 2.13.0 against 9.9",
    ):
        assert text in outcome.out


def test_one_other_epoch_is_enough_to_disagree(sides: Sides) -> None:
    run = run_of(sides[1], 3)
    record, text = read_record(run), run.metrics.read_text()
    assert text.count('"test_top1_err":7.0') == 1  # of the second epoch
    run.metrics.write_text(text.replace('"test_top1_err":7.0', '"test_top1_err":7.1'))
    write_record(run, record)
    (found,) = compared(*sides).disagreeing
    assert found.differences == ("metrics.jsonl: different from epoch 2 on",)


def test_times_and_machines_do_not_make_runs_disagree(sides: Sides) -> None:
    shutil.rmtree(run_of(sides[1], 1).path)
    plant(
        sides[1], suite_under(SUITE), CELL, 1, test=[9.0, 7.0, 6.0], code={"commit": "d" * 40},
        environment={"device_name": "other"}, timing={"total_s": 9.0, "resumed": 2},
    )  # fmt: skip
    assert compared(*sides).disagreeing == ()


def test_a_run_that_diverged_on_one_side_only_disagrees(sides: Sides) -> None:
    shutil.rmtree(run_of(sides[1], 1).path)
    factory.diverge(sides[1], suite_under(SUITE), CELL, 1)
    (run,) = compared(*sides).disagreeing
    assert "status done against diverged" in run.differences


def test_an_edited_record_is_named_and_never_compared(sides: Sides, shell: Shell) -> None:
    record = run_of(sides[1], 1).record
    record.write_text(record.read_text().replace('"test_top1_err": 6.0', '"test_top1_err": 5.0'))
    found = compared(*sides)
    assert len(found.same_key) == 2
    assert "edited or damaged" in found.problems[0]
    assert shell("compare", *sides).code == 1
    assert found.left_out == (
        f"{SUITE} {CELL}, only A: tier paper cifar10 fp32 eager numerics {NUMERICS} (1 run)",
    )


@pytest.mark.parametrize(
    ("errors_a", "errors_b", "verdict"),
    [
        ([6.0, 6.2, 6.4], [9.0, 9.3, 9.4], "b_worse"),
        ([9.0, 9.3, 9.4], [6.0, 6.2, 6.4], "b_better"),
        ([6.0, 6.4, 6.2], [6.3, 6.1, 6.2], "no_difference"),
        ([6.0, 6.1], [12.0, 12.1], "too_few_seeds"),
    ],
)
def test_runs_under_other_keys_are_two_arms(
    tmp_path: Path, errors_a: list[float], errors_b: list[float], verdict: str
) -> None:
    found = pair(tmp_path / "a", tmp_path / "b", errors_a, errors_b)
    difference = (sum(errors_b) - sum(errors_a)) / len(errors_a)
    assert (found.verdict, found.n) == (verdict, len(errors_a))
    assert found.difference == pytest.approx(difference, abs=1e-3)
    assert (found.interval[0] < 0 < found.interval[1]) == (verdict == "no_difference")
    for arm, errors in ((found.a, errors_a), (found.b, errors_b)):
        assert arm.seeds == tuple(range(1, len(errors) + 1))
        assert arm.errors == pytest.approx(errors)


def test_the_p_of_a_comparison_is_two_sided_as_its_interval_is(tmp_path: Path) -> None:
    found = pair(tmp_path / "a", tmp_path / "b", [6.0, 6.2, 6.4], [7.0, 7.2, 7.4])
    assert found.interval[0] < 0 < found.interval[1]
    assert found.p is not None
    assert 0.05 < found.p < 0.1
    assert found.p_images == pytest.approx(found.p)  # images that flip by chance add nothing


def test_after_ranks_nothing_is_said_of_other_test_images(tmp_path: Path) -> None:
    found = pair(tmp_path / "a", tmp_path / "b", [6.0, 6.2, 30.0], [9.0, 9.3, 9.4])
    assert found.p is not None
    assert found.p_images is None


def test_one_seed_compares_these_two_networks_on_their_images(tmp_path: Path) -> None:
    found = pair(tmp_path / "a", tmp_path / "b", [6.0], [12.0], images=5)
    assert found.p is None
    assert found.p_images == pytest.approx(0.5**59, abs=1e-6)  # 60 images, all for A
    assert found.verdict == "networks_differ"


def test_one_network_that_does_not_differ_is_enough_to_say_so(tmp_path: Path) -> None:
    found = pair(tmp_path / "a", tmp_path / "b", [6.0], [12.0, 6.0])
    assert (found.n, found.verdict) == (1, "networks_alike")
    assert (found.p_images or 0) > 0.5


def test_verdicts_on_many_cells_are_adjusted_for_their_number(tmp_path: Path) -> None:
    """A p below 0.05 that is one of eight is no finding."""
    expanded = {e: suite_under("table1_arl_vs_nal", engine=e) for e in ("eager", "graph")}
    for cell in expanded["eager"].cells:
        shift = 1.3 if cell.id == "attention-56/arl" else 0.0
        for seed, noise in enumerate((0.0, 0.2, -0.1), 1):
            error = 6 + seed / 10
            plant(tmp_path / "a", expanded["eager"], cell.id, seed, test=[9.0, error])
            moved = error + shift + noise
            plant(tmp_path / "b", expanded["graph"], cell.id, seed, test=[9.0, moved])
    found = compared(tmp_path / "a", tmp_path / "b")
    shifted = next(p for p in found.cells if p.cell.endswith("attention-56/arl"))
    assert len(found.cells) == 8
    assert shifted.p is not None
    assert shifted.p < 0.05
    assert shifted.verdict == "no_difference"


def test_two_tiers_of_one_folder_are_compared(tmp_path: Path, shell: Shell) -> None:
    for tier in ("cpu", "tiny"):
        plant(tmp_path, suite_under(SUITE, tier=tier), CELL, 1, test=[9.0, 8.0])
    assert [len(select(tier, tmp_path).records) for tier in ("cpu", "tiny")] == [1, 1]
    outcome = shell("compare cpu tiny --results", tmp_path)
    assert outcome.code == 0
    assert "1 cell under different keys" in outcome.out


def test_several_settings_without_an_equal_one_are_left_out_and_named(tmp_path: Path) -> None:
    for folder, changes in (("a", {"tier": "cpu"}), ("a", {"tier": "tiny"}), ("b", {})):
        plant(tmp_path / folder, suite_under(SUITE, **changes), CELL, 1, test=[9.0, 8.0])
    found = compared(tmp_path / "a", tmp_path / "b")
    assert found.cells == ()
    assert len(found.left_out) == 3


def test_other_test_images_are_compared_by_their_errors_alone(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    assert pair(a, b, [6.0, 6.2, 6.4], [9.0, 9.3, 9.4]).p_images is not None
    for seed in (1, 2, 3):
        run = run_of(b, seed, engine="graph")
        record, kept = read_record(run), read_predictions(run.predictions)
        pred, prob, label = (
            np.roll(kept.pred, 1),
            np.roll(kept.prob_true, 1),
            np.roll(kept.label, 1),
        )
        write_predictions(run.predictions, Predictions(pred, prob, label, kept.index))
        write_record(run, record)
    (found,) = compared(a, b).cells
    assert found.p_images is None
    assert found.verdict == "b_worse"


@pytest.mark.parametrize("name", ["tny", "tier=cpu", "nowhere/at/all", ""])
def test_what_is_neither_a_folder_nor_a_tier_is_refused_with_the_tiers_there_are(
    tmp_path: Path, name: str
) -> None:
    for tier in ("cpu", "tiny"):
        plant(tmp_path, suite_under(SUITE, tier=tier), CELL, 1, test=[9.0, 8.0])
    with pytest.raises(UsageError, match=rf"^'{name}': neither a .* Tiers there: cpu, tiny\."):
        select(name, tmp_path)


def test_runs_of_two_data_sets_with_one_label_are_kept_apart(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    data = [DataChoice("cifar10", "mine", f"sha256:{d * 64}") for d in "12"]
    for choice, error in zip(data, (5.0, 25.0), strict=True):
        for seed in (1, 2, 3):
            plant(a, suite_under(SUITE, data={"cifar10": choice}), CELL, seed, test=[9.0, error])
    for seed in (1, 2, 3):
        plant(b, suite_under(SUITE, engine="graph"), CELL, seed, test=[9.0, 5.0])
    found = compared(a, b)
    assert found.cells == ()
    assert [line.count("(3 runs)") for line in found.left_out] == [1, 1, 1]


def test_cells_that_no_runner_noted_are_no_cells_and_the_run_counts_by_its_key(
    tmp_path: Path, shell: Shell
) -> None:
    odd: tuple[Any, ...] = (5, [5], [[]], {"a": 1}, None)
    for seed, cells in enumerate(odd, 1):
        record = plant(tmp_path, suite_under(SUITE), CELL, seed, test=[9.0, 8.0])
        run = RunFolder(tmp_path, record.key)
        context = {**record.context, "cells": cells}
        write_record(run, structs.replace(record, context=context, files={}, record_hash=""))
    for command, said in (
        ("status", "5 finished runs."),
        (f"report {SUITE}", "8.00 ± 0.00 (5)"),
        ("compare paper paper", "5 runs with the same key: errors, curves and predictions are "),
    ):
        found = shell(f"{command} --format markdown --results", tmp_path)
        assert (found.code, found.err) == (0, "")
        assert said in found.out.replace("\xa0", " ")


def test_what_a_diverged_run_counts_as_is_said(tmp_path: Path, shell: Shell) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    said = "A diverged run counts as guessing in B - A and p, and not in the means."
    assert pair(a, b, [6.0, 6.2, 6.4], [9.0, 9.3]).difference == pytest.approx(2.95)
    assert said not in shell("compare --format markdown", a, b).out
    factory.diverge(b, suite_under(SUITE, engine="graph"), CELL, 3)
    assert said in shell("compare --format markdown", a, b).out
    (found,) = compared(a, b).cells
    assert found.difference == pytest.approx((9.0 + 9.3 + 90.0) / 3 - 6.2)
    assert found.b.mean == pytest.approx(9.15)
    assert found.interval == (-math.inf, math.inf)  # a guess has no spread that means anything
