from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs

from resbench.analysis.compare import CellPair, Comparison, compare, select
from resbench.errors import UsageError
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.store.predictions import Predictions, read_predictions, write_predictions
from resbench.store.records import read_record, write_record
from resbench.suite.expand import DataChoice, Expanded
from resbench.suite.spec import NUMERICS
from tests import factory
from tests.cli.invoke import invoke
from tests.factory import plant, suite_under

Capture = pytest.CaptureFixture[str]
SUITE, CELL = "table3_mask", "encoder-decoder"


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
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


def rewrite(folder: Path, expanded: Expanded, seed: int, *, epoch: int, error: float) -> None:
    """Give a run another test error in one epoch, and a record that fits it."""
    run = RunFolder(folder, expanded.cell(CELL).at_seed(seed).key)
    record, rows = read_record(run), read_epochs(run.metrics, EpochMetrics)
    rows[epoch - 1] = structs.replace(rows[epoch - 1], test_top1_err=error)
    lines = [msgspec.json.encode(row).decode() for row in rows]
    run.metrics.write_text("\n".join(lines) + "\n")
    write_record(run, record)


def test_copies_are_identical_and_exit_0(
    sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "compare", *sides)
    assert outcome.code == 0
    assert "3 runs of equal key: identical in every bit that repeats." in outcome.out


def test_a_run_of_equal_key_with_another_number_is_named_and_exits_1(
    sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    expanded = suite_under(SUITE)
    shutil.rmtree(RunFolder(sides[1], expanded.cell(CELL).at_seed(2).key).path)
    plant(sides[1], expanded, CELL, 2, test=[9.0, 7.0, 6.3], environment={"torch": "9.9"})
    outcome = invoke(capsys, "compare", *sides, "--format", "markdown")
    assert outcome.code == 1
    for text in (
        f"{SUITE} {CELL} seed 2",
        "result.test_top1_err 6.2 against 6.3",
        "predictions.npz: 1 of 1,000 images classified differently",
        "metrics.jsonl: different from epoch 1 on",  # of its loss
        "Torch 2.13.0 against 9.9",
    ):
        assert text in outcome.out


def test_one_other_epoch_is_enough_to_disagree(sides: tuple[Path, Path]) -> None:
    rewrite(sides[1], suite_under(SUITE), 3, epoch=2, error=7.1)
    (run,) = compared(*sides).disagreeing
    assert run.differences == ("metrics.jsonl: different from epoch 2 on",)


def test_times_and_machines_do_not_make_runs_disagree(sides: tuple[Path, Path]) -> None:
    expanded = suite_under(SUITE)
    shutil.rmtree(RunFolder(sides[1], expanded.cell(CELL).at_seed(1).key).path)
    plant(
        sides[1], expanded, CELL, 1, test=[9.0, 7.0, 6.0], environment={"device_name": "other"},
        timing={"total_s": 9.0, "resumed": 2}, code={"commit": "d" * 40},
    )  # fmt: skip
    assert compared(*sides).disagreeing == ()


def test_a_run_that_diverged_on_one_side_only_disagrees(sides: tuple[Path, Path]) -> None:
    expanded = suite_under(SUITE)
    shutil.rmtree(RunFolder(sides[1], expanded.cell(CELL).at_seed(1).key).path)
    factory.diverge(sides[1], expanded, CELL, 1)
    (run,) = compared(*sides).disagreeing
    assert "status done against diverged" in run.differences


def test_an_edited_record_is_named_and_never_compared(
    sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    record = RunFolder(sides[1], suite_under(SUITE).cell(CELL).at_seed(1).key).record
    record.write_text(record.read_text().replace('"test_top1_err": 6.0', '"test_top1_err": 5.0'))
    found = compared(*sides)
    assert len(found.same_key) == 2
    assert "edited or damaged" in found.problems[0]
    assert invoke(capsys, "compare", *sides).code == 1
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


def test_the_p_of_a_comparison_is_two_sided_as_its_interval_is(tmp_path: Path) -> None:
    found = pair(tmp_path / "a", tmp_path / "b", [6.0, 6.2, 6.4], [7.0, 7.2, 7.4])
    assert found.interval[0] < 0 < found.interval[1]
    assert found.p is not None
    assert 0.05 < found.p < 0.1


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


def test_two_tiers_of_one_folder_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for tier in ("cpu", "tiny"):
        plant(tmp_path, suite_under(SUITE, tier=tier), CELL, 1, test=[9.0, 8.0])
    assert [len(select(tier, tmp_path).records) for tier in ("cpu", "tiny")] == [1, 1]
    outcome = invoke(capsys, "compare", "cpu", "tiny", "--results", tmp_path)
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
        run = RunFolder(b, suite_under(SUITE, engine="graph").cell(CELL).at_seed(seed).key)
        record, kept = read_record(run), read_predictions(run.predictions)
        rolled = Predictions(
            np.roll(kept.pred, 1), np.roll(kept.prob_true, 1), np.roll(kept.label, 1)
        )
        write_predictions(run.predictions, rolled)
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
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd: tuple[Any, ...] = (5, [5], [[]], {"a": 1}, None)
    for seed, cells in enumerate(odd, 1):
        record = plant(tmp_path, suite_under(SUITE), CELL, seed, test=[9.0, 8.0])
        run = RunFolder(tmp_path, record.key)
        context = {**record.context, "cells": cells}
        write_record(run, structs.replace(record, context=context, files={}, record_hash=""))
    for words, said in (
        ("status", "5 finished runs."),
        (f"report {SUITE}", "8.00 ± 0.00 (5)"),
        ("compare paper paper", "5 runs of equal key: identical"),
    ):
        found = invoke(capsys, *words.split(), "--results", tmp_path, "--format", "markdown")
        assert (found.code, found.err) == (0, "")
        assert said in found.out.replace("\xa0", " ")


def test_what_a_diverged_run_counts_as_is_said(tmp_path: Path, capsys: Capture) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    said = "A diverged run counts as guessing in B - A and p, and not in the means."
    assert pair(a, b, [6.0, 6.2, 6.4], [9.0, 9.3]).difference == pytest.approx(2.95)
    words = "compare", a, b, "--format", "markdown"
    assert said not in invoke(capsys, *words).out
    factory.diverge(b, suite_under(SUITE, engine="graph"), CELL, 3)
    assert said in invoke(capsys, *words).out
    (found,) = compared(a, b).cells
    assert found.difference == pytest.approx((9.0 + 9.3 + 90.0) / 3 - 6.2)
    assert found.b.mean == pytest.approx(9.15)
