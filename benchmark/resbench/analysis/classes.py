"""Errors by class, from the stored predictions of every test image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resbench.analysis.judge import JudgedTable
from resbench.analysis.tables import predictions_of
from resbench.datasets import DATA_SETS
from resbench.store.layout import RunFolder

CLASSES = 10
"""A data set with more has no table that anyone would read."""


@dataclass(frozen=True, eq=False)
class ClassErrors:
    """Where the runs of one cell are wrong."""

    confused: NDArray[np.float64]
    """[class, for which it is taken]: percent of the test images of the class; 0 where right."""
    names: tuple[str, ...]
    """Of the classes: numbers for images that are not the published ones."""

    @property
    def errors(self) -> list[float]:
        """Percent of the test images of each class."""
        found: list[float] = self.confused.sum(axis=1).tolist()
        return found

    @property
    def worst(self) -> tuple[str, str, float] | None:
        """The most frequent confusion: a class, for which it is taken, percent of its images."""
        truth, guess = divmod(int(self.confused.argmax()), CLASSES)
        percent = float(self.confused[truth, guess])
        return (self.names[truth], self.names[guess], percent) if percent else None


def errors_by_class(results: str, table: JudgedTable) -> dict[str, ClassErrors]:
    """Count the errors of all runs by class, for each cell with runs and not many classes."""
    found = {}
    for cell in table.cells:
        counts = np.zeros((CLASSES, CLASSES), np.int64)  # true class, predicted class
        runs = cell.done if cell.data and DATA_SETS[cell.data].classes == CLASSES else ()
        for kept in predictions_of(RunFolder(Path(results), run.key) for run in runs).values():
            if max(kept.label.max(), kept.pred.max()) < CLASSES:
                np.add.at(counts, (kept.label, kept.pred), 1)
        if counts.any():
            images = np.maximum(counts.sum(axis=1, keepdims=True), 1)
            np.fill_diagonal(counts, 0)
            found[cell.label] = ClassErrors(100 * counts / images, _names(cell.data, table))
    return found


def _names(data: str | None, table: JudgedTable) -> tuple[str, ...]:
    published = any(choice.published and choice.name == data for choice in table.setting.data)
    known = DATA_SETS[data].class_names if data and published else ()
    return known or tuple(map(str, range(CLASSES)))
