"""The runs of one cell as an arm of a test."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import numpy as np

from resbench.analysis.results import measured, seed_of
from resbench.analysis.tables import TableRuns
from resbench.datasets import DATA_SETS
from resbench.stats.guard import guessing_error
from resbench.stats.multiplicity import LOOKS
from resbench.stats.spread import Arm, chance_variance
from resbench.store.predictions import Predictions
from resbench.store.records import RunRecord
from resbench.suite.schema import SIGNAL_METRICS, Metric

NO_CHANCE = 1e-12
"""Variance of a number that no images were counted for: the spread comes from other arms alone."""


def arms_of(table: TableRuns, metric: Metric) -> Mapping[str, Arm]:
    """Return every cell of a table as an arm, of this error."""
    cells, kept = table.cells.items(), table.predictions
    return {name: arm_of(name, cell.records, metric, kept) for name, cell in cells}


def same_images(predictions: Iterable[Predictions]) -> bool:
    """Whether runs can be compared image by image: all predicted the same labels."""
    return len({each.label.tobytes() for each in predictions}) == 1


def seeds_in_order(table: TableRuns) -> tuple[int, ...]:
    """Return the seeds as looks take them: the declared ones, then 1, 2, 3 and so on.

    Whatever was run: else whoever runs more seeds could choose which of them are looked at.
    """
    declared = table.expanded.seeds
    others = (seed for seed in itertools.count(1) if seed not in declared)
    return (*declared, *itertools.islice(others, LOOKS[-1]))


def arm_of(
    name: str, runs: Iterable[RunRecord], metric: Metric, kept: Mapping[str, Predictions]
) -> Arm:
    """Return the runs that have a number of this metric as an arm, in order of seeds.

    A diverged run has the error of guessing, and the sizes within its network that were measured
    before. The images are there when every run has them ``kept``.
    """
    numbers = {
        seed_of(run): (run, number)
        for run in sorted(runs, key=seed_of)
        if (number := _number(run, metric)) is not None
    }
    if not numbers:
        return Arm(name, (), (), 1.0)
    sizes = metric in SIGNAL_METRICS
    diverged = (seed for seed, (run, _) in numbers.items() if run.status == "diverged")
    lost = frozenset[int]() if sizes else frozenset(diverged)
    finished = {run.key: number for run, number in numbers.values() if run.status == "done"}
    images = [kept[key] for key in finished if key in kept]
    tested = metric == "test_top1_err" and len(images) == len(finished) and same_images(images)
    correct = np.stack([each.pred == each.label for each in images]) if tested else None
    errors = tuple(number for _, number in numbers.values())
    if sizes:
        chance = NO_CHANCE
    else:
        first, _ = next(iter(numbers.values()))
        even = list(finished.values()) or list(errors)
        chance = chance_variance(even, _images(first, metric), correct)
    return Arm(name, tuple(numbers), errors, chance, lost, None if lost else correct)


def _number(run: RunRecord, metric: Metric) -> float | None:
    """Return a run's number, of a diverged run the error of guessing."""
    if run.status == "diverged" and metric not in SIGNAL_METRICS:
        return guessing_error(DATA_SETS[run.data.name].classes)
    return measured(run, metric)


def _images(run: RunRecord, metric: Metric) -> int:
    """Return how many images an error was measured on."""
    if metric == "val_in_train_err":
        return int(run.spec["training"]["val_in_train"]) or run.data.test_images
    return run.data.test_images if metric == "test_top1_err" else run.data.train_images
