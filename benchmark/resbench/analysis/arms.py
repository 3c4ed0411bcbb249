"""The runs of one cell as an arm of a test, with the test images that each got right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from resbench.analysis.measured import measured
from resbench.analysis.results import seed_of
from resbench.errors import ResbenchError
from resbench.stats.contrasts import ArmResult
from resbench.store.layout import RunFolder
from resbench.store.predictions import read_predictions
from resbench.store.records import RunRecord
from resbench.suite.schema import Metric

Kept = Mapping[str, NDArray[np.bool_]]
"""Which test images a run got right, by the run's key."""


def images_kept(runs: Iterable[RunFolder]) -> Kept:
    """Return which test images each run got right; nothing where runs saw other images."""
    kept: dict[str, NDArray[np.bool_]] = {}
    labels = None
    for run in runs:
        try:
            found = read_predictions(run.predictions)
        except ResbenchError:
            return {}  # the errors in the records still decide; only the images cannot be paired
        if labels is not None and not np.array_equal(labels, found.label):
            return {}
        labels = found.label
        kept[run.key] = found.pred == found.label
    return kept


def arm_of(name: str, runs: Iterable[RunRecord], metric: Metric, kept: Kept) -> ArmResult:
    """Return the runs that have a number of this metric as an arm, with their images if kept."""
    values = [(run, value) for run in runs if (value := measured(run, metric)) is not None]
    correct = [kept[run.key] for run, _ in values if run.key in kept]
    tested = metric == "test_top1_err" and correct and len(correct) == len(values)
    seeds, errors = tuple(seed_of(run) for run, _ in values), tuple(value for _, value in values)
    return ArmResult(name, seeds, errors, np.stack(correct) if tested else None)
