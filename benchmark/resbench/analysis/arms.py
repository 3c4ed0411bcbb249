"""The runs of one cell as an arm of a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from resbench.analysis.results import error_images, measured, seed_of
from resbench.analysis.tables import TableRuns
from resbench.datasets import DATA_SETS
from resbench.stats.guard import guessing_error
from resbench.stats.spread import Arm
from resbench.store.predictions import Predictions
from resbench.store.records import RunRecord
from resbench.suite.schema import SIGNAL_METRICS, Metric


def arms_of(table: TableRuns, metric: Metric) -> Mapping[str, Arm]:
    """Return every cell of a table as an arm, of this error."""
    cells, kept = table.cells.items(), table.predictions
    return {name: arm_of(name, cell.records, metric, kept) for name, cell in cells}


def same_images(predictions: Iterable[Predictions]) -> bool:
    """Whether runs can be compared image by image: all predicted the same labels."""
    return len({each.label.tobytes() for each in predictions}) == 1


def arm_of(
    name: str, runs: Iterable[RunRecord], metric: Metric, kept: Mapping[str, Predictions]
) -> Arm:
    """Return the runs that have a number of this metric as an arm, in order of seeds.

    A diverged run has the error of guessing, and the sizes within its network that were measured
    before.
    """
    numbers = {
        seed_of(run): (run, number)
        for run in sorted(runs, key=seed_of)
        if (number := _number(run, metric)) is not None
    }
    seeds, errors = tuple(numbers), tuple(number for _, number in numbers.values())
    if metric in SIGNAL_METRICS or not numbers:
        return Arm(name, seeds, errors)
    runs = [run for run, _ in numbers.values()]
    lost = frozenset(seed_of(run) for run in runs if run.status == "diverged")
    seen = {seed_of(run): kept[run.key] for run in runs if run.key in kept}
    tested = metric == "test_top1_err" and same_images(seen.values())
    correct = {seed: each.pred == each.label for seed, each in seen.items()} if tested else {}
    return Arm(name, seeds, errors, _images(runs[0], metric), lost, correct)


def _number(run: RunRecord, metric: Metric) -> float | None:
    """Return a run's number, of a diverged run the error of guessing."""
    if run.status == "diverged" and metric not in SIGNAL_METRICS:
        return guessing_error(DATA_SETS[run.data.name].classes)
    return measured(run, metric)


def _images(run: RunRecord, metric: Metric) -> int:
    train, test = run.data.train_images, run.data.test_images
    held = int(run.spec["training"]["val_in_train"])
    return error_images(metric, train=train, test=test, val_in_train=held)
