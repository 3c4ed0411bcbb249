"""Judges one published number against the runs of one arm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from resbench.stats.contrasts import Estimate
from resbench.stats.intervals import Interval
from resbench.stats.multiplicity import ALPHA, LOOKS, times_looks
from resbench.stats.spread import Arm, moderated, reference_variance
from resbench.suite.schema import half_width

CellKind = Literal["replicated", "better", "worse", "undecided", "not_run"]

MARGIN_PP = 1.0
"""Ours agrees with the published number when their difference is shown to be smaller: the step
from a 5 % to a 6 % network."""


@dataclass(frozen=True)
class CellVerdict:
    """Ours against one published number, in percentage points."""

    kind: CellKind
    look: int
    """Runs that the verdict stands on; 0 while no look is complete."""
    difference: float
    """Our mean minus the published number; NaN when one of them is missing."""
    interval: Interval
    """At 95 %, where the published number would lie if it were of our runs' making."""
    p_within: float | None
    """For "the difference is below the margin", times the looks."""
    p_differs: float | None
    """Two-sided, for "there is a difference", times the looks."""


def median_variance(runs: int) -> float:
    """Return the variance of a median of normal runs over that of one run (large n: pi / 2n)."""
    return 1.0 if runs == 1 else math.pi / (2 * runs)


def judge_cell(
    arm: Arm,
    seeds: Sequence[int],
    published: str | None,
    others: Iterable[Arm] = (),
    *,
    median_of: int = 1,
) -> CellVerdict:
    """Judge a published error; a blank one gets an interval and no verdict but "undecided".

    ``seeds`` are in the order of looks, ``others`` are the suite's other arms, and the published
    number is the median of ``median_of`` runs: 1 where its source does not say.
    """
    number, rounding = (float(published), half_width(published)) if published else (math.nan, 0.0)
    complete = (look for look in reversed(LOOKS) if set(seeds[:look]) <= set(arm.seeds))
    look = next((look for look in complete if look <= len(seeds)), 0)
    runs = arm.only(seeds[:look]) if look else arm
    others = [other.among(seeds[:look]) if look else other for other in others]
    reference = reference_variance(runs.chance_variance, others)
    difference = _difference(runs, number, reference, median_variance(median_of))
    reach = replace(difference, effect=0.0).interval()[1] + rounding
    interval = (runs.mean - reach, runs.mean + reach)
    if arm.diverged:
        interval = (-math.inf, math.inf)
    if not arm.n or not look or published is None or arm.diverged:
        kind: CellKind = "undecided" if arm.n else "not_run"
        return CellVerdict(kind, look, runs.mean - number, interval, None, None)
    within = times_looks(difference.p_within(MARGIN_PP - rounding))
    # The rounding may have moved the number by as much towards ours or away from it.
    differs = times_looks(difference.p_beyond(rounding))
    kind = "undecided"
    if within is not None and within <= ALPHA:
        kind = "replicated"
    elif differs is not None and differs <= ALPHA:
        kind = "better" if difference.effect < 0 else "worse"
    return CellVerdict(kind, look, difference.effect, interval, within, differs)


def _difference(arm: Arm, number: float, reference: float, published: float) -> Estimate:
    """Estimate our mean minus the published number, which spreads as our runs do."""
    if arm.n < 2:
        return Estimate(arm.mean - number, math.inf, math.inf, math.nan, arm.n)
    variance, df = moderated(arm.variance, arm.n, reference)
    se = math.sqrt(variance * (1 / arm.n + published))
    return Estimate(arm.mean - number, math.sqrt(variance), se, df, arm.n)
