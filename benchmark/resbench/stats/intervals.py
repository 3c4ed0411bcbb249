"""Intervals, and the plain summary of one cell's errors in percent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A two-sided interval; unknown ends are infinite."""

    low: float
    high: float
    level: float

    @property
    def half_width(self) -> float:
        """Half of high - low; infinite when unbounded."""
        return (self.high - self.low) / 2

    def contains(self, value: float) -> bool:
        """Whether the value lies inside, ends included."""
        return self.low <= value <= self.high


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
