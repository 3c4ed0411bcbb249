"""Intervals, and the plain summary of one cell's errors in percent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Interval = tuple[float, float]
"""Two-sided, at 95 %; unknown ends are infinite."""
QUANTILE = 0.975
"""The quantile that an interval at 95 % reaches to."""


@dataclass(frozen=True)
class Summary:
    """Errors of one cell, in percent."""

    n: int
    mean: float
    """NaN when there is no value, or when one of them is not finite."""
    sd: float
    """The measured standard deviation (n - 1); NaN below two values."""


def summarise(values: Sequence[float]) -> Summary:
    """Summarise errors in percent, one per seed."""
    n = len(values)
    if n == 0 or not all(map(math.isfinite, values)):
        return Summary(n, math.nan, math.nan)
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(n, mean, math.nan)
    return Summary(n, mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)))
