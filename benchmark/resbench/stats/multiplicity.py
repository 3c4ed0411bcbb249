"""The price of several looks and of several claims."""

from __future__ import annotations

from collections.abc import Sequence

ALPHA = 0.05
"""Of all verdicts: over the looks, and over the claims of a suite."""
LOOKS = (3, 5, 8)
"""Seeds an arm at which a claim is judged, and at no other number."""


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


def times_looks(p: float | None) -> float | None:
    """Return a p-value that may be looked at after every look (Bonferroni)."""
    return None if p is None else min(1.0, len(LOOKS) * p)
