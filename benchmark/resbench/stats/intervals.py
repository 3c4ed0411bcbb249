"""The top-1 errors of one cell: their summary, and the interval for one new run.

Values are errors in percent, one per seed, all scored on the same test images; so the spread
between seeds is the whole noise, and the images are common to every run and to the source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from resbench.stats import student


@dataclass(frozen=True)
class Interval:
    """A two-sided interval; `reason` says why an end is infinite or the spread assumed."""

    low: float
    high: float
    level: float
    reason: str = ""

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
    spread: float
    """The sd that intervals use: `sd`, its floor when all values are identical, or infinity."""
    reason: str = ""
    """Why `spread` is not `sd`; empty when it is."""


def sampling_sd(error: float, n_test: int) -> float:
    """Return the binomial sd of an error rate in percent on n_test images, in points.

    Counts one more error and one more success than were seen (Laplace), so that an error of 0 %
    or 100 % does not come out as known exactly.
    """
    rate = (error / 100 * n_test + 1) / (n_test + 2)
    return 100 * math.sqrt(rate * (1 - rate) / n_test)


def summarise(values: Sequence[float], n_test: int | None = None) -> Summary:
    """Summarise errors in percent, one per seed, scored on n_test images.

    Identical values do not mean a spread of zero: with n_test the binomial sd of the test set
    stands in for it, without n_test the spread is unknown.
    """
    n = len(values)
    bad = sum(not math.isfinite(value) for value in values)
    if n == 0 or bad:
        reason = f"{bad} of {n} values are not finite" if bad else "no values"
        return Summary(n, math.nan, math.nan, math.inf, reason)
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(n, mean, math.nan, math.inf, "one run shows no spread between seeds")
    if min(values) < max(values):
        sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
        return Summary(n, mean, sd, sd)
    if n_test:
        reason = f"identical values: spread taken from the binomial noise of {n_test} test images"
        return Summary(n, mean, 0.0, sampling_sd(mean, n_test), reason)
    return Summary(n, mean, 0.0, math.inf, "identical values: the spread is unknown")


def prediction_interval(
    values: Sequence[float],
    level: float = 0.95,
    half_width: float = 0.0,
    *,
    n_test: int | None = None,
) -> Interval:
    """Return the interval for one new run: mean +- (t s sqrt(1 + 1/n) + half_width).

    Source: Hahn and Meeker 1991, chapter 4. `half_width` is half a unit in the last printed
    place, because the new run is only known rounded.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1")
    summary = summarise(values, n_test)
    if math.isinf(summary.spread):
        return Interval(-math.inf, math.inf, level, summary.reason)
    t = student.quantile((1 + level) / 2, summary.n - 1)
    reach = t * summary.spread * math.sqrt(1 + 1 / summary.n) + half_width
    return Interval(summary.mean - reach, summary.mean + reach, level, summary.reason)
