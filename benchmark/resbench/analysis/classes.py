"""Errors by class, from the stored predictions of every test image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resbench.analysis.judge import Run
from resbench.store.layout import RunFolder
from resbench.store.predictions import read_predictions

CLASSES = 10
"""A data set with more has no table that anyone would read."""


@dataclass(frozen=True)
class ClassErrors:
    """Where the runs of one cell are wrong."""

    errors: tuple[float, ...]
    """Percent of the test images of each class."""
    mistaken: tuple[int, int, float] | None
    """The most frequent confusion: a class, for which it is taken, percent of its images."""


def errors_by_class(results: str, runs: Iterable[Run]) -> ClassErrors | None:
    """Count the errors of all runs of a cell by class; None for a data set of many classes."""
    counts = np.zeros((CLASSES, CLASSES), np.int64)  # true class, predicted class
    for run in runs:
        found = read_predictions(RunFolder(Path(results), run.key).predictions)
        if max(found.label.max(), found.pred.max()) >= CLASSES:
            return None
        np.add.at(counts, (found.label, found.pred), 1)
    images = np.maximum(counts.sum(axis=1), 1)
    wrong = 100 * (counts - np.diag(counts.diagonal())) / images[:, None]
    truth, guess = np.unravel_index(wrong.argmax(), wrong.shape)
    most = (int(truth), int(guess), float(wrong[truth, guess])) if wrong.any() else None
    return ClassErrors(tuple(wrong.sum(axis=1).tolist()), most)
