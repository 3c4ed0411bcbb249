"""Holm's correction for the claims of one suite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Holm:
    """Adjusted p-values in the order given."""

    adjusted: tuple[float | None, ...]
    """None where there was no p-value."""
    family: int
    """How many p-values were adjusted together."""
    left_out: tuple[int, ...]
    """Positions without a p-value (None or NaN); they are not part of the family."""


def holm(pvalues: Sequence[float | None]) -> Holm:
    """Adjust p-values step-down (Holm 1979): p_(i) times (m - i + 1), made monotone, at most 1."""
    known = {i: p for i, p in enumerate(pvalues) if p is not None and not math.isnan(p)}
    adjusted: list[float | None] = [None] * len(pvalues)
    largest = 0.0
    for rank, i in enumerate(sorted(known, key=known.__getitem__)):
        largest = max(largest, min(1.0, known[i] * (len(known) - rank)))
        adjusted[i] = largest
    left_out = tuple(i for i in range(len(pvalues)) if i not in known)
    return Holm(tuple(adjusted), len(known), left_out)
