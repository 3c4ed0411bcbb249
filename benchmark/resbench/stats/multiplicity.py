"""Several looks and several claims, and what they cost."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from resbench.stats.spread import Arm

ALPHA = 0.05
"""Of all verdicts: over the looks, and over the claims of a suite."""
LOOKS = (3, 5, 8)
"""Seeds an arm at which a claim is judged, and at no other number."""
Waiting = tuple[tuple[str, int], ...]
"""Runs (cell, seed) that a look lacks."""


def seeds_in_order(declared: Sequence[int]) -> tuple[int, ...]:
    """Return the seeds as looks take them: the declared ones, then 1, 2, 3 and so on.

    Whatever was run: else whoever runs more seeds could choose which of them are looked at.
    """
    others = (seed for seed in itertools.count(1) if seed not in declared)
    return (*declared, *itertools.islice(others, LOOKS[-1]))


def complete_look(arms: Sequence[Arm], seeds: Sequence[int]) -> tuple[int, Waiting]:
    """Return the latest complete look, 0 before the first, and the runs that the next one lacks.

    ``seeds`` are in the order of looks.
    """
    reached = 0
    for look in LOOKS:
        lacking = tuple(
            (arm.cell, seed) for arm in arms for seed in seeds[:look] if seed not in arm.seeds
        )
        if lacking or len(seeds) < look:
            return reached, lacking
        reached = look
    return reached, ()


def times_looks(p: float | None) -> float | None:
    """Return a p-value that may be looked at after every look (Bonferroni)."""
    return None if p is None else min(1.0, len(LOOKS) * p)


def holm(pvalues: Sequence[float | None]) -> tuple[float | None, ...]:
    """Adjust p-values step-down (Holm 1979): p_(i) times (m - i + 1), made monotone, at most 1.

    None stays None, but counts in m: the family is what was declared, not what can be decided now.
    """
    known = {i: p for i, p in enumerate(pvalues) if p is not None}
    adjusted: list[float | None] = [None] * len(pvalues)
    largest = 0.0
    for rank, i in enumerate(sorted(known, key=known.__getitem__)):
        largest = max(largest, min(1.0, known[i] * (len(pvalues) - rank)))
        adjusted[i] = largest
    return tuple(adjusted)
