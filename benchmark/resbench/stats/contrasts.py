"""Differences between arms over runs: Welch's t with the prior of `spread`, or exact ranks.

A contrast is a weighted sum of the arms' mean errors, so a difference (-1, +1), a step of a chain
and a growth of gaps are one computation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resbench.stats import student
from resbench.stats.intervals import QUANTILE, Interval, summarise
from resbench.stats.ranks import rank_p
from resbench.stats.spread import Arm, hidden_loss, moderated, reference_variance, uneven


@dataclass(frozen=True)
class Estimate:
    """A contrast in percentage points with its t distribution; ``se`` is infinite if unknown."""

    effect: float
    sd: float
    """Of the contrast for one run per arm."""
    se: float
    df: float
    n: int
    """Runs of the smallest arm."""

    def interval(self) -> Interval:
        """Return the interval of the contrast."""
        if not math.isfinite(self.se):
            return -math.inf, math.inf
        reach = student.quantile(QUANTILE, self.df) * self.se
        return self.effect - reach, self.effect + reach

    def p_above(self, threshold: float = 0.0) -> float | None:
        """Return the one-sided p-value for "the contrast exceeds threshold"; None if unknown."""
        if not math.isfinite(self.se):
            return None
        return student.cdf((threshold - self.effect) / self.se, self.df)

    def p_below(self, threshold: float = 0.0) -> float | None:
        """Return the one-sided p-value for "the contrast is below threshold"; None if unknown."""
        if not math.isfinite(self.se):
            return None
        return student.cdf((self.effect - threshold) / self.se, self.df)

    def p_within(self, margin: float) -> float | None:
        """Return the p-value for |contrast| < margin: two one-sided tests (Schuirmann 1987)."""
        return _largest((self.p_above(-margin), self.p_below(margin)))

    def p_beyond(self, margin: float = 0.0) -> float | None:
        """Return the p-value for |contrast| > margin, doubled for its two directions."""
        above, below = self.p_above(margin), self.p_below(-margin)
        return None if above is None or below is None else min(1.0, 2 * min(above, below))


@dataclass(frozen=True)
class Tested:
    """One contrast with the one-sided p-values for "above 0" and "below 0"; None if untested."""

    estimate: Estimate
    p: float | None
    opposite_p: float | None
    uneven: tuple[str, ...] = ()
    """Arms that a t-test of means cannot be trusted with; two arms are then tested by ranks."""
    hidden: float = 0.0
    """Points of the effect that failures may take which the arms' runs did not show."""


def _largest(pvalues: Iterable[float | None]) -> float | None:
    known = list(pvalues)
    return None if None in known else max(p for p in known if p is not None)


def estimate(
    arms: Sequence[Arm], weights: Sequence[float], references: Sequence[float]
) -> Estimate:
    """Estimate the weighted sum of the arms' mean errors; the spread is known from two runs on.

    ``references`` are the arms' reference variances. Degrees of freedom are Satterthwaite's.
    """
    n = min(arm.n for arm in arms)
    effect = sum(w * arm.mean for w, arm in zip(weights, arms, strict=True))
    if n < 2:
        return Estimate(effect, math.inf, math.inf, math.nan, n)
    parts, total, degrees = [], 0.0, 0.0
    for w, arm, reference in zip(weights, arms, references, strict=True):
        variance, df = moderated(arm.variance, arm.n, reference)
        parts.append(w * w * variance)
        total += parts[-1] / arm.n
        degrees += (parts[-1] / arm.n) ** 2 / df
    return Estimate(effect, math.sqrt(sum(parts)), math.sqrt(total), total**2 / degrees, n)


def paired_interval(arms: Sequence[Arm], weights: Sequence[float]) -> Interval | None:
    """Return the interval of a contrast paired by seed; None below two seeds or after a divergence.

    The arms have the same seeds in the same order. For information: no verdict rests on it.
    """
    if min(arm.n for arm in arms) < 2 or any(arm.diverged for arm in arms):
        return None
    rows = zip(*(arm.errors for arm in arms), strict=True)
    found = summarise([sum(w * e for w, e in zip(weights, row, strict=True)) for row in rows])
    reach = student.quantile(QUANTILE, found.n - 1) * found.sd / math.sqrt(found.n)
    return found.mean - reach, found.mean + reach


def put_to_test(
    arms: Sequence[Arm], weights: Sequence[float], suite: Iterable[Arm], *, alike: bool = False
) -> Tested:
    """Test one contrast; the arms of ``suite`` outside it say how far runs spread there.

    Failures that did not show count where they are in the better arms, or in any of them where the
    arms are claimed to be ``alike``.
    """
    cells = {arm.cell for arm in arms}
    others = [arm for arm in suite if arm.cell not in cells]
    references = [reference_variance(arm.chance_variance, others) for arm in arms]
    found = estimate(arms, weights, references)
    odd = tuple(
        arm.cell for arm, reference in zip(arms, references, strict=True) if uneven(arm, reference)
    )
    hidden = math.fsum(
        abs(w) * hidden_loss(arm, others)
        for w, arm in zip(weights, arms, strict=True)
        if arm.n and (alike or w * found.effect < 0)
    )
    if not odd:
        return Tested(found, found.p_above(), found.p_below(), odd, hidden)
    if len(arms) != 2 or found.n < 2:
        return Tested(found, None, None, odd, hidden)
    (_, better), (_, worse) = sorted(zip(weights, arms, strict=True), key=lambda pair: pair[0])
    p, opposite_p = rank_p(better.ranked, worse.ranked), rank_p(worse.ranked, better.ranked)
    # Ranks do not see how bad a failure is: an arm that fails must be better on average too.
    if better.cell in odd:
        p = max(p, found.p_above() or 0.0)
    if worse.cell in odd:
        opposite_p = max(opposite_p, found.p_below() or 0.0)
    return Tested(found, p, opposite_p, odd, hidden)
