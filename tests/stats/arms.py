"""Arms and claims made of a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resbench.stats.claims import ClaimVerdict, Question, judge_questions
from resbench.stats.spread import Arm
from resbench.suite.claims import Operator, ParsedClaim

SMALL = 1e-6
"""A chance variance so small that the prior says nothing, and the test is plain Welch."""
USUAL = 0.04


def arm(
    cell: str, *errors: float, chance: float = USUAL, at: float = 5.0, diverged: Sequence[int] = ()
) -> Arm:
    """An arm with seeds from 1; ``chance`` is its variance at an error, ``diverged`` are seeds."""
    images = at * (100 - at) / chance
    return Arm(cell, tuple(range(1, len(errors) + 1)), errors, images, frozenset(diverged))


def predicted(name: str, error: float, rng: np.random.Generator) -> Arm:
    """An arm of three runs that keep what they got right of 2,000 images; the error in percent."""
    correct = rng.random((3, 2000)) >= error / 100
    found = tuple(float(e) for e in 100 * (1 - correct.mean(axis=1)))
    return Arm(name, (1, 2, 3), found, 2000, kept=dict(enumerate(correct, 1)))


def question(operator: Operator, terms: Sequence[Arm | tuple[Arm, Arm]], **more: Any) -> Question:
    """A claim whose suite is its own arms; a term is an arm, or the pair of a gap."""
    pairs = [term if isinstance(term, tuple) else (term,) for term in terms]
    claim = ParsedClaim(operator, tuple(tuple(a.cell for a in pair) for pair in pairs))
    arms = {a.cell: a for pair in pairs for a in pair} | more.pop("others", {})
    seeds = more.pop("seeds", tuple(range(1, max(a.n for a in arms.values()) + 1)))
    return Question(claim, arms, seeds, **more)


NEVER_RUN = question("<", [Arm("x", (), ()), Arm("y", (), ())])
"""A claim that a suite declares, and that counts in its family."""


def judged(
    operator: Operator, terms: Sequence[Arm | tuple[Arm, Arm]], family: int = 1, **more: Any
) -> ClaimVerdict:
    """Return the verdict on one claim, the first of ``family`` that the suite declares."""
    return judge_questions([question(operator, terms, **more), *[NEVER_RUN] * (family - 1)])[0]
