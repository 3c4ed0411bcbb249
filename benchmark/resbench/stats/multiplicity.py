"""Holm's correction for the claims of one suite."""

from __future__ import annotations

import math
from collections.abc import Sequence


def holm(pvalues: Sequence[float | None]) -> tuple[float | None, ...]:
    """Adjust p-values step-down (Holm 1979): p_(i) times (m - i + 1), made monotone, at most 1.

    None or NaN is no p-value: it stays None, and is not counted in m.
    """
    known = {i: p for i, p in enumerate(pvalues) if p is not None and not math.isnan(p)}
    adjusted: list[float | None] = [None] * len(pvalues)
    largest = 0.0
    for rank, i in enumerate(sorted(known, key=known.__getitem__)):
        largest = max(largest, min(1.0, known[i] * (len(known) - rank)))
        adjusted[i] = largest
    return tuple(adjusted)
