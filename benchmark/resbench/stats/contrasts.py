"""Differences between arms over seeds: paired t, Welch, and any other linear contrast.

An arm is one cell's runs. A contrast is a weighted sum of the arms' mean errors, so a difference
(-1, +1), a step of a monotone claim and a growth of gaps are one computation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resbench.stats import student
from resbench.stats.intervals import Interval, sampling_sd


@dataclass(frozen=True, eq=False)
class ArmResult:
    """The finished runs of one cell. Raises ValueError when its parts do not fit together."""

    cell: str
    seeds: tuple[int, ...]
    errors: tuple[float, ...]
    """Top-1 errors in percent, one per seed."""
    correct: NDArray[np.bool_] | None = None
    """[seeds, images], whether each test image was classified correctly; None if not kept."""

    def __post_init__(self) -> None:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"{self.cell}: a seed occurs twice in {self.seeds}")
        if len(self.errors) != len(self.seeds):
            raise ValueError(f"{self.cell}: {len(self.seeds)} seeds, {len(self.errors)} errors")
        if self.correct is not None and (
            self.correct.ndim != 2 or len(self.correct) != len(self.seeds)
        ):
            shape = self.correct.shape
            raise ValueError(f"{self.cell}: {len(self.seeds)} seeds, but correct is {shape}")

    def only(self, seeds: Sequence[int]) -> ArmResult:
        """Return the runs of these seeds, in this order."""
        rows = [self.seeds.index(seed) for seed in seeds]
        correct = None if self.correct is None else self.correct[rows]
        return ArmResult(self.cell, tuple(seeds), tuple(self.errors[row] for row in rows), correct)


@dataclass(frozen=True)
class Estimate:
    """A contrast in percentage points with its t distribution; `reason` says what is unknown."""

    effect: float
    sd: float
    """Of the contrast for one seed per arm; infinite when unknown."""
    se: float
    df: float
    n: int
    """Seeds of the smallest arm."""
    groups: int
    """Independent groups of seeds: 1 when paired, else the number of arms."""
    reason: str = ""

    def interval(self, level: float) -> Interval:
        """Return the Student interval of the contrast."""
        if not math.isfinite(self.se):
            return Interval(-math.inf, math.inf, level, self.reason)
        reach = student.quantile((1 + level) / 2, self.df) * self.se
        return Interval(self.effect - reach, self.effect + reach, level, self.reason)

    def p_above(self, threshold: float = 0.0) -> float:
        """Return the one-sided p-value for "the contrast exceeds threshold"; NaN if unknown."""
        if not math.isfinite(self.se):
            return math.nan
        return student.cdf((threshold - self.effect) / self.se, self.df)

    def p_below(self, threshold: float = 0.0) -> float:
        """Return the one-sided p-value for "the contrast is below threshold"; NaN if unknown."""
        if not math.isfinite(self.se):
            return math.nan
        return student.cdf((self.effect - threshold) / self.se, self.df)


def align(arms: Sequence[ArmResult]) -> tuple[list[ArmResult], bool]:
    """Return the arms cut to their common seeds, and whether they are paired by seed.

    They are paired when one arm's seeds all occur in every other arm; otherwise pairing would
    throw runs away, so all runs are kept and count as independent.
    """
    common = sorted(set.intersection(*(set(arm.seeds) for arm in arms)))
    if len(common) == min(len(arm.seeds) for arm in arms):
        return [arm.only(common) for arm in arms], True
    return list(arms), False


def seed_contrast(arms: Sequence[ArmResult], weights: Sequence[float]) -> Estimate:
    """Estimate the weighted sum of the arms' mean errors, paired by seed where `align` allows.

    Where predictions are kept, a spread between seeds below that of chance flips is luck of few
    seeds, and would make any difference significant: the flips' spread stands in for it.
    """
    aligned, paired = align(arms)
    errors = [arm.errors for arm in aligned]
    corrects = [arm.correct for arm in aligned if arm.correct is not None]
    if len(corrects) < len(aligned):
        return contrast(errors, weights, paired=paired)
    n_test = corrects[0].shape[1]
    estimate = contrast(errors, weights, paired=paired, n_test=n_test)
    flips = flips_sd(corrects, weights, paired=paired) if estimate.n > 1 else 0.0
    if not estimate.sd < flips:
        return estimate
    reason = f"the seeds differ less than by chance flips of {n_test:,} images, which stand in"
    return replace(estimate, sd=flips, se=estimate.se * flips / estimate.sd, reason=reason)


def flips_sd(
    corrects: Sequence[NDArray[np.bool_]], weights: Sequence[float], *, paired: bool
) -> float:
    """Return the sd of a contrast at one seed per arm if the images flipped independently.

    Each image's own variance over the seeds, of every arm [seeds, images] and as the contrast
    weights them, in percentage points.
    """
    parts = [100 * w * (1.0 - correct) for w, correct in zip(weights, corrects, strict=True)]
    if paired:
        parts = [np.sum(parts, axis=0)]
    return math.sqrt(sum(part.var(axis=0, ddof=1).sum() for part in parts)) / parts[0].shape[1]


def contrast(
    errors: Sequence[Sequence[float]],
    weights: Sequence[float],
    *,
    paired: bool,
    n_test: int | None = None,
) -> Estimate:
    """Estimate sum(weights * mean error per arm) from errors in percent, one list per arm.

    Paired: Student's t on the per-seed contrasts, n - 1 degrees of freedom. Otherwise Welch's t
    (1947) with Satterthwaite's degrees of freedom. A spread of exactly zero is replaced by the
    binomial noise of n_test images, or is unknown without n_test.
    """
    groups = 1 if paired else len(errors)
    n = min(len(arm) for arm in errors)
    values = [np.asarray(arm, dtype=float) for arm in errors]
    w = np.asarray(weights, dtype=float)
    if n == 0 or not all(np.isfinite(arm).all() for arm in values):
        reason = "an arm has no runs" if n == 0 else "an error is not finite"
        return Estimate(math.nan, math.inf, math.inf, math.nan, n, groups, reason)
    means = np.array([arm.mean() for arm in values])
    effect = float(w @ means)
    if n == 1:
        reason = "one seed shows no spread between seeds"
        return Estimate(effect, math.inf, math.inf, math.nan, n, groups, reason)
    if paired:
        sd = float((w @ np.stack(values)).std(ddof=1))
        se, df = sd / math.sqrt(n), float(n - 1)
    else:
        variances = w**2 * [arm.var(ddof=1) for arm in values]
        sizes = np.array([arm.size for arm in values])
        parts = variances / sizes
        sd, se = math.sqrt(variances.sum()), math.sqrt(parts.sum())
        df = float(parts.sum() ** 2 / (parts**2 / (sizes - 1)).sum()) if se > 0 else math.nan
    if sd > 1e-9:  # below that the errors differ by rounding only
        return Estimate(effect, sd, se, df, n, groups)
    if not n_test:
        reason = "identical differences: the spread is unknown"
        return Estimate(effect, math.inf, math.inf, math.nan, n, groups, reason)
    floors = [sampling_sd(mean, n_test) for mean in means]
    sd = math.hypot(*(w * floors))
    reason = f"identical differences: spread taken from the binomial noise of {n_test} test images"
    return Estimate(effect, sd, sd / math.sqrt(n), float(n - 1), n, groups, reason)
