"""resbench replicates the tables of a paper and says whether the published numbers hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resbench.analysis.frames import Frames

__version__ = "0.1.0"


def load(results: str | Path = "results", suites: Sequence[str] = ()) -> Frames:
    """Return a results folder as pandas DataFrames: runs, epochs, predictions, cells, claims.

    Args:
        results: the folder.
        suites: names or files of the suites to judge; by default all shipped ones.

    Raises:
        resbench.errors.ResbenchError: there is no such folder, it holds other things, or a suite
            is wrong.
    """
    from resbench.analysis.frames import load

    return load(results, suites)
