"""The contrasts that decide a claim, of runs or of published numbers. No numpy: `plan` asks this.

A term is a tuple: one cell, or the pair (a, b) of a gap error(b) - error(a).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, get_args

from resbench.suite.claims import Operator

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Step(Generic[T]):
    """One contrast of a claim, positive as claimed."""

    arms: tuple[T, ...]
    weights: tuple[float, ...]


def steps_of(operator: Operator, terms: Sequence[tuple[T, ...]]) -> list[Step[T]]:
    """Return the contrasts that must all show for the claim to hold.

    Raises:
        ValueError: unknown operator, or terms that it does not compare.
    """
    if operator not in get_args(Operator):
        raise ValueError(f"operator {operator!r}: allowed are {', '.join(get_args(Operator))}")
    size, chain = 1 + (operator == "gap_grows"), operator not in ("<", ">", "~")
    if len(terms) < 2 or any(len(term) != size for term in terms):
        kind = "pairs of arms" if size == 2 else "arms, not pairs"
        raise ValueError(f"operator {operator!r} compares two or more {kind}")
    if len(terms) > 2 and not chain:
        raise ValueError(f"operator {operator!r} compares two arms, not {len(terms)}")
    arms = tuple(itertools.chain.from_iterable(terms))
    if operator == "gap_grows":
        return [Step(arms, tuple(w * s for w in trend_weights(len(terms)) for s in (-1.0, 1.0)))]
    falls = operator in (">", "monotone_decreasing")
    return [Step(pair, (1.0, -1.0) if falls else (-1.0, 1.0)) for pair in itertools.pairwise(arms)]


def trend_weights(levels: int) -> tuple[float, ...]:
    """Return the weights by which values give their fitted line's rise from first to last level.

    That is the least-squares slope over the level's index, times the number of steps.
    """
    x = [i - (levels - 1) / 2 for i in range(levels)]
    squares = math.fsum(v * v for v in x)
    return tuple(v * (levels - 1) / squares for v in x)
