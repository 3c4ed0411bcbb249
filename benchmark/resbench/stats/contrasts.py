"""Differences between arms over runs: Welch's t with the prior of `spread`, or exact ranks.

A contrast is a weighted sum of the arms' mean errors, so a difference (-1, +1), a step of a chain
and a growth of gaps are one computation. Of two arms the first is the better one, as claimed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from resbench.stats.spread import Arm, hidden_shift, moderated, reference_variance, strangers
from resbench.stats.textbook import Interval, cdf, interval_of, rank_p, summarise
from resbench.suite.claims import ParsedClaim

if TYPE_CHECKING:  # `plan` and `validate` start without numpy
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Step:
    """One contrast of a claim, positive as claimed."""

    arms: tuple[str, ...]
    weights: tuple[float, ...]


def steps_of(claim: ParsedClaim) -> list[Step]:
    """Return the contrasts that must all show for the claim to hold."""
    arms = tuple(chain.from_iterable(claim.terms))
    if claim.operator == "gap_grows":
        rises = trend_weights(len(claim.terms))
        weights = dict.fromkeys(arms, 0.0)  # an arm may be in two gaps
        for arm, weight in zip(arms, (r * s for r in rises for s in (-1.0, 1.0)), strict=True):
            weights[arm] += weight
        return [Step(*zip(*sorted(weights.items(), key=lambda pair: pair[1]), strict=True))]
    falls = claim.operator in (">", "monotone_decreasing")
    pairs = ((b, a) if falls else (a, b) for a, b in pairwise(arms))
    return [Step(pair, (-1.0, 1.0)) for pair in pairs]


def trend_weights(levels: int) -> tuple[float, ...]:
    """Return the weights by which values give their fitted line's rise from first to last level.

    That is the least-squares slope over the level's index, times the number of steps.
    """
    x = [i - (levels - 1) / 2 for i in range(levels)]
    squares = math.fsum(v * v for v in x)
    return tuple(v * (levels - 1) / squares for v in x)


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
        return interval_of(self.effect, self.se, self.df)

    def p_above(self, threshold: float = 0.0) -> float | None:
        """Return the one-sided p-value for "the contrast exceeds threshold"; None if unknown."""
        if not math.isfinite(self.se):
            return None
        return cdf((threshold - self.effect) / self.se, self.df)

    def p_below(self, threshold: float = 0.0) -> float | None:
        """Return the one-sided p-value for "the contrast is below threshold"; None if unknown."""
        if not math.isfinite(self.se):
            return None
        return cdf((self.effect - threshold) / self.se, self.df)

    def p_within(self, margin: float) -> float | None:
        """Return the p-value for |contrast| < margin: two one-sided tests (Schuirmann 1987)."""
        above, below = self.p_above(-margin), self.p_below(margin)
        return None if above is None or below is None else max(above, below)

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
    """Points of the effect that seeds may take which the arms' runs did not show."""
    diverged: bool = False
    """Whether a run of an arm did: errors of guessing have no spread that means anything."""

    @property
    def interval(self) -> Interval | None:
        """The interval of the contrast; None while its spread is unknown, or if a run diverged."""
        ends = self.estimate.interval()
        return None if self.diverged or not math.isfinite(ends[0]) else ends


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


def put_to_test(
    arms: Sequence[Arm], weights: Sequence[float], suite: Iterable[Arm], *, alike: bool = False
) -> Tested:
    """Test one contrast; the arms of ``suite`` outside it say how far runs spread there.

    Failures that did not show count where they are in the better arms, lucky seeds where they are
    in the worse ones, and both in any arm where the arms are claimed to be ``alike``.
    """
    cells = {arm.cell for arm in arms}
    others = [arm for arm in suite if arm.cell not in cells]
    references = [reference_variance(arm.chance_variance, others) for arm in arms]
    found = estimate(arms, weights, references)
    far = [strangers(arm, reference) for arm, reference in zip(arms, references, strict=True)]
    odd = tuple(arm.cell for arm, off in zip(arms, far, strict=True) if off or arm.diverged)
    hidden = math.fsum(
        abs(w) * hidden_shift(arm, others, better=alike or w * found.effect < 0)
        for w, arm in zip(weights, arms, strict=True)
        if arm.n
    )
    lost = any(arm.diverged for arm in arms)
    if not odd:
        return Tested(found, found.p_above(), found.p_below(), odd, hidden, lost)
    if len(arms) != 2 or found.n < 2:
        return Tested(found, None, None, odd, hidden, lost)
    better, worse = arms
    p, opposite_p = rank_p(better.ranked, worse.ranked), rank_p(worse.ranked, better.ranked)
    # Ranks do not see how bad a failure is, nor how good a lucky seed: then an arm that is to be
    # better must be so on average too.
    lucky = [min(off, default=0.0) < 0 for off in far]
    if better.cell in odd or lucky[1]:
        p = max(p, found.p_above() or 0.0)
    if worse.cell in odd or lucky[0]:
        opposite_p = max(opposite_p, found.p_below() or 0.0)
    return Tested(found, p, opposite_p, odd, hidden, lost)


def paired_interval(arms: Sequence[Arm], weights: Sequence[float]) -> Interval | None:
    """Return the interval of a contrast paired by seed; None below two seeds or after a divergence.

    The arms have the same seeds in the same order. For information: no verdict rests on it.
    """
    n = min(arm.n for arm in arms)
    if n < 2 or any(arm.diverged for arm in arms):
        return None
    rows = zip(*(arm.errors for arm in arms), strict=True)
    found = summarise([sum(w * e for w, e in zip(weights, row, strict=True)) for row in rows])
    return interval_of(found.mean, found.sd / math.sqrt(n), n - 1)


def other_images_p(
    estimate: Estimate, better: NDArray[np.bool_], worse: NDArray[np.bool_]
) -> float:
    """Return the one-sided p that ``worse`` errs more, for other seeds and other test images.

    The arrays are [runs, images], two runs or more each, of the same images; ``estimate`` is the
    difference of their mean errors, whose spread between seeds is used as it stands. The variance
    between images is added to it, less the seeds' disagreement on each image, which is in the
    seeds' spread already (variance components of the crossed design; Owen 2007).
    """
    rates = [arm.mean(axis=0) for arm in (better, worse)]
    between = float((rates[0] - rates[1]).var())
    within = sum(
        float((rate * (1 - rate)).mean()) / (len(arm) - 1)
        for rate, arm in zip(rates, (better, worse), strict=True)
    )
    seeds = estimate.se**2
    total = seeds + 1e4 * max(0.0, between - within) / better.shape[1]
    df = estimate.df * (total / seeds) ** 2  # Satterthwaite: the images' part is known well
    return cdf(-estimate.effect / math.sqrt(total), df)
