"""The runs of one cell as an arm of a test."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from resbench.analysis.results import measured, seed_of
from resbench.analysis.tables import TableRuns
from resbench.datasets import DATA_SETS
from resbench.errors import ResbenchError
from resbench.stats.guard import guessing_error
from resbench.stats.multiplicity import LOOKS
from resbench.stats.spread import Arm, chance_variance
from resbench.store.layout import RunFolder
from resbench.store.predictions import read_predictions
from resbench.store.records import RunRecord
from resbench.suite.schema import SIGNAL_METRICS, Metric

NO_CHANCE = 1e-12
"""Variance of a number that no images were counted for: the spread comes from other arms alone."""


@dataclass(frozen=True)
class Kept:
    """The stored predictions of some runs, by the run's key."""

    correct: Mapping[str, NDArray[np.bool_]] = field(repr=False)
    """Which test images a run got right."""
    labels: Mapping[str, bytes] = field(repr=False)
    """The images' true labels: runs on other images cannot be compared image by image."""


def images_kept(runs: Iterable[RunFolder]) -> Kept:
    """Return which test images each run got right, where its predictions can be read."""
    correct, labels = dict[str, NDArray[np.bool_]](), dict[str, bytes]()
    for run in runs:
        try:
            found = read_predictions(run.predictions)
        except ResbenchError:
            continue  # the errors in the records still decide
        correct[run.key] = found.pred == found.label
        labels[run.key] = found.label.tobytes()
    return Kept(correct, labels)


def kept_of(table: TableRuns) -> Kept:
    """Return the predictions of a table's runs."""
    runs = {run.key for cell in table.cells.values() for run in cell.done}
    return images_kept(RunFolder(table.results, key) for key in sorted(runs))


def arms_of(
    table: TableRuns, metrics: Iterable[Metric], kept: Kept
) -> Mapping[Metric, Mapping[str, Arm]]:
    """Return every cell of a table as an arm of each error."""
    cells = table.cells.items()
    return {
        metric: {name: arm_of(name, cell.records, metric, kept) for name, cell in cells}
        for metric in set(metrics)
    }


def seeds_in_order(table: TableRuns) -> tuple[int, ...]:
    """Return the seeds as looks take them: the declared ones, then 1, 2, 3 and so on.

    Whatever was run: else whoever runs more seeds could choose which of them are looked at.
    """
    declared = table.expanded.seeds
    others = (seed for seed in itertools.count(1) if seed not in declared)
    return (*declared, *itertools.islice(others, LOOKS[-1]))


def arm_of(name: str, runs: Iterable[RunRecord], metric: Metric, kept: Kept) -> Arm:
    """Return the runs that have a number of this metric as an arm, in order of seeds.

    A diverged run has the error of guessing. The images are there when every run has them.
    """
    numbers = {
        seed_of(run): (run, number)
        for run in sorted(runs, key=seed_of)
        if (number := _number(run, metric)) is not None
    }
    if not numbers:
        return Arm(name, (), (), 1.0)
    lost = frozenset(seed for seed, (run, _) in numbers.items() if run.status == "diverged")
    finished = {run.key: number for run, number in numbers.values() if run.status == "done"}
    images = [kept.correct[key] for key in finished if key in kept.correct]
    same = len({kept.labels[key] for key in finished if key in kept.labels}) == 1
    tested = metric == "test_top1_err" and same and len(images) == len(finished)
    correct = np.stack(images) if tested else None
    errors = tuple(number for _, number in numbers.values())
    if metric in SIGNAL_METRICS:
        chance = NO_CHANCE
    else:
        first, _ = next(iter(numbers.values()))
        even = list(finished.values()) or list(errors)
        chance = chance_variance(even, _images(first, metric), correct)
    return Arm(name, tuple(numbers), errors, chance, lost, None if lost else correct)


def _number(run: RunRecord, metric: Metric) -> float | None:
    """Return a run's number, of a diverged run the error of guessing."""
    if run.status == "diverged":
        classes = DATA_SETS[run.data.name].classes
        return None if metric in SIGNAL_METRICS else guessing_error(classes)
    return measured(run, metric)


def _images(run: RunRecord, metric: Metric) -> int:
    """Return how many images an error was measured on."""
    if metric == "val_in_train_err":
        return int(run.spec["training"]["val_in_train"]) or run.data.test_images
    return run.data.test_images if metric == "test_top1_err" else run.data.train_images
