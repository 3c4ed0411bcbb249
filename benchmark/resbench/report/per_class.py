"""Errors by class, from the stored predictions of every test image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resbench.analysis.judge import JudgedCell, JudgedTable
from resbench.report.document import Block, Cell, Fold, Number, Paragraph, Table
from resbench.store.layout import RunFolder
from resbench.store.predictions import read_predictions

_MOST = 10
"""Data sets with more classes have no table that anyone would read."""


def classes_fold(table: JudgedTable, results: str) -> Iterator[Block]:
    """Yield test error by class and the most frequent confusion of each cell, if there are runs."""
    rows = [row for cell in table.cells if (row := _row(cell, results))]
    if not rows:
        return
    most = max(map(len, rows))
    header = ("cell", *(f"class\n{i}" for i in range(most - 2)), "most often mistaken")
    same = tuple(row for row in rows if len(row) == most)
    yield Fold(
        "Test error by class",
        (
            Paragraph("Percent of the test images of a class, mean over seeds, from predictions."),
            Table(header, same, "l" + "r" * (most - 2) + "l"),
        ),
    )


def _row(cell: JudgedCell, results: str) -> tuple[Cell, ...]:
    total, wrong, pairs = Counter[int](), Counter[int](), Counter[tuple[int, int]]()
    for run in cell.done:
        found = read_predictions(RunFolder(Path(results), run.key).predictions)
        missed = found.pred != found.label
        total.update(dict(enumerate(np.bincount(found.label).tolist())))
        wrong.update(dict(enumerate(np.bincount(found.label[missed]).tolist())))
        both = zip(found.label[missed].tolist(), found.pred[missed].tolist(), strict=True)
        pairs.update(both)
    if not total or max(total) >= _MOST:
        return ()
    errors = [100 * wrong[i] / total[i] if total[i] else 0.0 for i in range(max(total) + 1)]
    (truth, guess), n = max(pairs.items(), key=lambda item: (item[1], item[0]), default=((0, 0), 0))
    most = f"{truth} as {guess} ({n / total[truth]:.1%})" if n else ""
    return (cell.label, *(Number(f"{error:.1f}", error) for error in errors), most)
