"""Two arms by the ranks of their runs: for arms whose means a t-test cannot be trusted with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

Ranked = Sequence[Any]
"""Runs by what orders them: their errors, or with diverged ones last `Arm.ranked`."""


def superiority(better: Ranked, worse: Ranked) -> float:
    """Return the share of pairs of runs, one of each arm, in which the first errs less.

    Ties count half. NaN without a pair.
    """
    pairs = len(better) * len(worse)
    wins = sum((a < b) + (a == b) / 2 for a in better for b in worse)
    return wins / pairs if pairs else float("nan")


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
