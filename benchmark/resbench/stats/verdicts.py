"""The verdict on one printed number: does it look like one more run of ours?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

from resbench.stats import student
from resbench.stats.intervals import Interval, Summary, prediction_interval, summarise
from resbench.stats.power import MOST_SEEDS

CellKind = Literal["replicated", "better", "worse", "inconclusive", "not_run", "not_comparable"]

RESOLUTION_PP = 1.0
"""The widest half-width at which "replicated" says something: what 3 runs with the usual sd of
0.2 points reach (4.30 x 0.2 x sqrt(4/3) = 0.99), and the step from a 5 % to a 6 % network."""

ONE_DRAW = "The printed number is taken as one draw; its own variance is not known."


@dataclass(frozen=True)
class CellVerdict:
    """Ours against one printed number, in percentage points."""

    kind: CellKind
    text: str
    summary: Summary
    interval: Interval
    """For one new run of ours, widened by the printed rounding."""
    difference: float
    """Our mean minus the printed number; NaN when one of them is missing."""
    seeds_needed: int | None
    """Seeds at which the interval is narrow enough; None when decided, unknown or unreachable."""


def parse_printed(printed: str) -> tuple[float, float]:
    """Return a printed decimal and half a unit in its last place: "5.40" -> (5.4, 0.005).

    Takes text because a float has lost the trailing zero. Raises ValueError for anything else.
    """
    try:
        number = Decimal(printed)
    except InvalidOperation:
        raise ValueError(f"printed value {printed!r} is not a decimal number") from None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"printed value {printed!r} is not finite")
    return float(number), float(Decimal(1).scaleb(exponent) / 2)


def judge_cell(
    values: Sequence[float],
    printed: str | None,
    *,
    n_test: int | None,
    level: float = 0.95,
    differences: Sequence[str] = (),
    planning_sd: float | None = None,
) -> CellVerdict:
    """Judge a printed error against ours, one value per seed, both in percent.

    The printed number, give or take its rounding, lies outside the prediction interval: better
    (ours is lower) or worse. Inside: replicated if the half-width is at most RESOLUTION_PP,
    else inconclusive. `planning_sd` is used for the seeds needed while no spread is measured.
    Not comparable: a blank printed cell (None), or `differences`, a phrase each, separate our runs
    from it.
    """
    summary = summarise(values, n_test)
    number, rounding = (math.nan, 0.0) if printed is None else parse_printed(printed)
    interval = prediction_interval(values, level, rounding, n_test=n_test)
    difference = summary.mean - number
    reasons = differences or ("the source prints no number here",) * (printed is None)
    seeds = None
    kind: CellKind
    if summary.n == 0:
        kind, text = "not_run", "Not run."
    elif reasons:
        kind, text = "not_comparable", f"Not comparable: {'; '.join(reasons)}."
    elif interval.contains(number):
        kind = "replicated" if interval.half_width <= RESOLUTION_PP else "inconclusive"
        if kind == "inconclusive":
            seeds = _seeds_for_half_width(summary, planning_sd, RESOLUTION_PP - rounding, level)
            advice = _advice(summary, planning_sd, seeds)
            text = f"Inconclusive: {_place(summary, interval, printed)} {advice} {ONE_DRAW}"
        else:
            text = f"Replicated: {_place(summary, interval, printed)} {ONE_DRAW}"
    else:
        kind = "better" if difference < 0 else "worse"
        text = f"{kind.capitalize()}: {_place(summary, interval, printed)} {ONE_DRAW}"
    return CellVerdict(kind, text, summary, interval, difference, seeds)


def _place(summary: Summary, interval: Interval, printed: str | None) -> str:
    runs = f"{summary.n} run{'s' * (summary.n != 1)}"
    if math.isinf(interval.half_width):
        return f"no interval for a new run from {runs} ({interval.reason})."
    side = "inside" if interval.contains(float(printed or "nan")) else "outside"
    caveat = f" ({interval.reason})" if interval.reason else ""
    return (
        f"printed {printed} lies {side} the {interval.level:.0%} interval for one new run of ours, "
        f"{interval.low:.2f} to {interval.high:.2f} ({runs}, mean {summary.mean:.2f}){caveat}."
    )


def _advice(summary: Summary, planning_sd: float | None, seeds: int | None) -> str:
    if seeds is not None:
        return f"About {seeds} seeds would narrow it enough."
    if math.isinf(summary.spread) and planning_sd is None:
        return "More seeds are needed; how many is not known yet."
    return f"No number of seeds up to {MOST_SEEDS} narrows it enough: single runs differ too much."


def _seeds_for_half_width(
    summary: Summary, planning_sd: float | None, reach: float, level: float
) -> int | None:
    sd = summary.spread if math.isfinite(summary.spread) else planning_sd
    if sd is None:
        return None
    for n in range(2, MOST_SEEDS + 1):
        if student.quantile((1 + level) / 2, n - 1) * sd * math.sqrt(1 + 1 / n) <= reach:
            return n
    return None
