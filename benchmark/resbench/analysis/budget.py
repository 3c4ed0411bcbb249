"""The runs of a plan with the time that each has left, and what a budget is enough for."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from resbench.store.records import RunRecord


@dataclass(frozen=True)
class PlannedTime:
    """One run of a plan; a run that serves several cells counts once."""

    cells: tuple[tuple[str, str], ...]
    """(suite, cell)."""
    seed: int
    record: RunRecord | None
    epochs: int
    """Epochs that an unfinished run has behind it."""
    left_s: float
    """Expected seconds that are left on one worker."""
    measured: bool = False
    """Whether they follow from the speed of such runs, not from the network's size alone."""
    bought: Literal["whole", "part"] | None = None
    """How much of it the budget is enough for, if there is one."""


def buy(runs: Sequence[PlannedTime], workers: int, budget_s: float) -> list[PlannedTime]:
    """Hand the runs to the workers in order, each until it ends or the time does."""
    free_at, found = [0.0] * workers, list[PlannedTime]()
    for run in runs:
        bought: Literal["whole", "part"] | None = None
        if run.record is None:
            start = heapq.heappop(free_at)
            end = start + run.left_s
            bought = "whole" if end <= budget_s else "part" if start < budget_s else None
            heapq.heappush(free_at, end)
        found.append(replace(run, bought=bought))
    return found


def total_s(runs: Iterable[PlannedTime], workers: int = 1) -> float:
    """Return the time that runs have left on all workers together."""
    left = [run.left_s for run in runs]
    # The last run of a plan leaves the other workers idle, so the longest one is a bound as well.
    return max([math.fsum(left) / workers, *left])
