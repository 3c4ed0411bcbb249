"""What stands in textbooks: means, intervals by Student's t, ranks, and McNemar's test.

Uses only scipy.special: scipy.stats is built on it, and takes seconds to import.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # `plan` and `validate` start without numpy
    import numpy as np
    from numpy.typing import NDArray

Interval = tuple[float, float]
"""Two-sided, at 95 %; unknown ends are infinite."""
Ranked = Sequence[Any]
"""Runs by what orders them: their errors, or with diverged ones last `Arm.ranked`."""


class Summary(NamedTuple):
    """Errors of one cell, in percent."""

    mean: float
    """NaN without a value."""
    sd: float
    """The measured standard deviation (n - 1); NaN below two values."""


def summarise(values: Sequence[float]) -> Summary:
    """Summarise errors in percent, one per seed."""
    n = len(values)
    mean = math.fsum(values) / n if n else math.nan
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Summary(mean, math.sqrt(squares / (n - 1)) if n > 1 else math.nan)


def finite(value: float) -> float | None:
    """Return a number, and None for NaN and infinity."""
    return value if math.isfinite(value) else None


def cdf(t: float, df: float) -> float:
    """Return the probability that Student's t stays below ``t``."""
    from scipy import special

    return float(special.stdtr(df, t))


def interval_of(mean: float, se: float, df: float) -> Interval:
    """Return the interval at 95 % of a number whose error over ``se`` is Student's t."""
    reach = math.inf
    if math.isfinite(se):
        from scipy import special

        reach = float(special.stdtrit(df, 0.975)) * se
    return mean - reach, mean + reach


def superiority(better: Ranked, worse: Ranked) -> float:
    """Return the share of pairs of runs, one of each arm, in which the first errs less.

    Ties count half. NaN without a pair.
    """
    pairs = len(better) * len(worse)
    wins = sum((a < b) + (a == b) / 2 for a in better for b in worse)
    return wins / pairs if pairs else math.nan


def rank_p(better: Ranked, worse: Ranked) -> float:
    """Return the exact one-sided p of the Mann-Whitney test that ``worse`` tends to err more.

    Over all ways to deal the pooled runs out to the arms, ties at their mean rank.
    """
    pooled = sorted((*better, *worse))
    # Twice the mean rank of a value is an integer: how many are below, and how many up to it.
    rank = {v: sum(x < v for x in pooled) + sum(x <= v for x in pooled) + 1 for v in pooled}
    deals: list[Counter[int]] = [Counter() for _ in range(len(better) + 1)]
    deals[0][0] = 1  # deals[k][s]: the ways to choose k runs whose doubled ranks sum to s
    for value in pooled:
        for k in range(len(better), 0, -1):
            for total, ways in deals[k - 1].items():
                deals[k][total + rank[value]] += ways
    seen = sum(rank[value] for value in better)
    every = deals[-1]
    return sum(count for total, count in every.items() if total <= seen) / sum(every.values())


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """Return the two-sided mid-p that two networks err equally often on the same [images].

    McNemar 1947; Fagerland et al. 2013. It says nothing about other seeds.
    """
    from scipy import special

    apart = [int((correct_a > correct_b).sum()), int((correct_a < correct_b).sum())]
    fewer, both = min(apart), sum(apart)
    # 2 (P(X < fewer) + P(X = fewer) / 2), X binomial
    below = float(special.bdtr(fewer - 1, both, 0.5)) if fewer else 0.0
    return float(special.bdtr(fewer, both, 0.5)) + below
