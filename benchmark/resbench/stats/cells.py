"""Judges one published number against the runs of one arm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from resbench.stats.contrasts import Estimate
from resbench.stats.multiplicity import ALPHA, complete_look, times_looks
from resbench.stats.spread import Arm, moderated, reference_variance
from resbench.stats.textbook import Interval
from resbench.suite.schema import half_width

CellKind = Literal["replicated", "better", "worse", "undecided", "not_run"]

MARGIN_PP = 1.0
"""Measured and published agree when their difference is shown to be smaller: the step from a 5 %
to a 6 % network."""


@dataclass(frozen=True)
class CellVerdict:
    """Measured against published, in percentage points."""

    kind: CellKind
    look: int
    """Runs that the verdict stands on; 0 while no look is complete."""
    difference: float
    """Measured mean minus the published number; NaN when one of them is missing."""
    interval: Interval
    """At 95 %, where the published number would lie if it were of these runs' making."""
    p_within: float | None = None
    """For "the difference is below the margin", times the looks."""
    p_differs: float | None = None
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
    look, _ = complete_look([arm], seeds)
    lost = bool(arm.diverged)  # also after the look: a known failure is not passed over
    if look:
        arm, others = arm.only(seeds[:look]), [other.only(seeds[:look]) for other in others]
    variance, df = math.inf, math.nan
    if arm.n > 1:
        reference = reference_variance(arm.chance_variance, others)
        variance, df = moderated(arm.variance, arm.n, reference)
    # The published number spreads as these runs do.
    se = math.sqrt(variance * (1 / max(arm.n, 1) + median_variance(median_of)))
    found = Estimate(arm.mean - number, math.sqrt(variance), se, df, arm.n)
    reach = math.inf if lost else replace(found, effect=0.0).interval()[1] + rounding
    interval = (arm.mean - reach, arm.mean + reach)
    if not arm.n or not look or published is None or lost:
        return CellVerdict("undecided" if arm.n else "not_run", look, found.effect, interval)
    within = times_looks(found.p_within(MARGIN_PP - rounding))
    # The rounding may have moved the number by as much towards ours or away from it.
    differs = times_looks(found.p_beyond(rounding))
    kind: CellKind = "undecided"
    if within is not None and within <= ALPHA:
        kind = "replicated"
    elif differs is not None and differs <= ALPHA:
        kind = "better" if found.effect < 0 else "worse"
    return CellVerdict(kind, look, found.effect, interval, within, differs)
