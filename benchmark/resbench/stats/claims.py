"""Judges the sentences of a source: an order, an equivalence or a trend over the arms of a suite.

A claim is a set of contrasts that must all be above 0 (`steps`). It holds when the weakest of them
does; it fails when one of them is below 0, and is smaller than published when one of them is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from resbench.stats.contrasts import Estimate, Tested, paired_interval, put_to_test
from resbench.stats.images import other_images_p
from resbench.stats.intervals import Interval
from resbench.stats.multiplicity import ALPHA, LOOKS, holm, times_looks
from resbench.stats.power import first_look
from resbench.stats.ranks import superiority
from resbench.stats.spread import USUAL_SD_PP, Arm
from resbench.stats.steps import Operator, Step, steps_of

ClaimKind = Literal[
    "confirmed",
    "contradicted",
    "smaller",
    "leans_for",
    "leans_against",
    "undecided",
    "not_learnt",
    "not_run",
]

SMALLEST_PP = 0.1
"""A smaller measured difference is neither confirmed nor contradicted, however many runs show it:
it is a quarter of the smallest difference that the sources make anything of."""


@dataclass(frozen=True)
class Question:
    """One claim and the arms of its suite. Raises ValueError for a claim that cannot be put."""

    operator: Operator
    terms: Sequence[tuple[str, ...]]
    """Cells: one each, of `gap_grows` pairs (a, b), a gap being error(b) - error(a)."""
    arms: Mapping[str, Arm] = field(repr=False)
    """All arms of the suite by cell, of the error that the claim is about."""
    seeds: Sequence[int]
    """In the order in which looks take them."""
    margin: float | None = None
    published: Sequence[float] = ()
    """The source's difference at every step, positive as claimed; nothing where not published."""
    comparable: bool = True
    """Whether the runs are of the source's setting, so that its sizes mean something for them."""
    not_learnt: Sequence[str] = ()
    """Cells that the learning guard keeps from being decided about."""
    ours: bool = False
    """Whether no source makes the claim; such claims are a family of their own."""
    planning_sd: float | None = None
    """A guess of one run's sd for the seeds needed, while none is measured."""

    def __post_init__(self) -> None:
        if (self.operator == "~") != (self.margin is not None):
            raise ValueError(
                f"operator {self.operator!r} with margin {self.margin}: '~' takes one, others none"
            )
        if self.margin is not None and not self.margin > 0:
            raise ValueError(f"margin {self.margin} is not positive")
        steps = len(self.steps)
        if self.published and len(self.published) != steps:
            raise ValueError(f"{len(self.published)} published differences for {steps} steps")

    @property
    def steps(self) -> list[Step[str]]:
        """The contrasts that must all show."""
        return steps_of(self.operator, self.terms)

    @property
    def cells(self) -> tuple[str, ...]:
        """Every cell that the claim speaks of, once."""
        return tuple(dict.fromkeys(cell for term in self.terms for cell in term))


@dataclass(frozen=True)
class ClaimVerdict:
    """The verdict and its evidence; p-values are one-sided and of this claim alone."""

    kind: ClaimKind
    operator: Operator
    margin: float | None
    comparable: bool
    look: int
    """Seeds per arm that the verdict stands on; 0 while no look is complete."""
    n: int
    """Runs of the smallest arm, also those after the look."""
    missing: tuple[str, ...]
    """Cells without a run."""
    waiting: tuple[tuple[str, int], ...]
    """Runs (cell, seed) that the next look lacks."""
    diverged: Mapping[str, int]
    """How many of the runs diverged, by cell, where any did."""
    uneven: tuple[str, ...]
    """Cells that were tested by ranks, or kept a trend from being tested."""
    hidden: float
    """Points by which the effect must be larger, as seeds failed in arms like its better ones."""
    not_learnt: tuple[str, ...]
    estimate: Estimate
    """Positive as claimed; of a chain the step with the largest p."""
    step: tuple[str, ...]
    """The cells of that step."""
    paired: Interval | None
    """Of the same effect at 95 %, paired by seed; the verdict does not pair."""
    published: float | None
    """The source's difference in that step."""
    p: float | None
    opposite_p: float | None
    smaller_p: float | None
    """For "smaller than published": the setting must be the source's."""
    images_p: float | None
    """For the claim on other test images too; None without predictions or after ranks."""
    superiority: float | None
    """The share of pairs of runs that show the step's order; None for a trend of gaps."""
    published_z: float | None
    """The published difference of that step over its sd, one run a cell."""
    seeds_needed: int | None
    """The look at which the published (else: the measured) difference is found with power 0.8."""
    adjusted_p: float | None = None
    """For the looks and the family, as the two below."""
    adjusted_opposite_p: float | None = None
    adjusted_smaller_p: float | None = None

    @property
    def effect(self) -> float:
        """Percentage points, positive as claimed; NaN if not run."""
        return self.estimate.effect


def judge_claims(questions: Sequence[Question]) -> tuple[ClaimVerdict, ...]:
    """Judge all claims that a suite declares, corrected for looks and for their number.

    Three families: for, against, and smaller than published. Each kind of false alarm has a rate of
    at most alpha over the suite and all looks together.
    """
    sizes = Counter(question.ours for question in questions)
    found = [_evidence(question, sizes[question.ours]) for question in questions]
    for ours in (False, True):
        family = [i for i, question in enumerate(questions) if question.ours == ours]
        columns = (
            holm([times_looks(found[i].p) for i in family]),
            holm([times_looks(found[i].opposite_p) for i in family]),
            holm([times_looks(found[i].smaller_p) for i in family]),
        )
        for i, p, opposite, smaller in zip(family, *columns, strict=True):
            verdict = replace(
                found[i],
                adjusted_p=p,
                adjusted_opposite_p=opposite,
                adjusted_smaller_p=smaller,
            )
            found[i] = replace(verdict, kind=_kind(verdict))
    return tuple(found)


def _kind(v: ClaimVerdict) -> ClaimKind:
    if v.missing:
        return "not_run"
    if not v.look:
        return "undecided"
    if v.not_learnt:
        return "not_learnt"

    def shown(p: float | None) -> bool:
        return p is not None and p <= ALPHA

    least = SMALLEST_PP + v.hidden
    if shown(v.adjusted_p) and (v.effect >= least or (v.operator == "~" and not v.hidden)):
        return "confirmed"
    if shown(v.adjusted_opposite_p) and (v.effect <= -least or v.operator == "~"):
        return "contradicted"
    if shown(v.adjusted_smaller_p):
        return "smaller"
    if shown(v.p):
        return "leans_for"
    return "leans_against" if shown(v.opposite_p) else "undecided"


def _evidence(q: Question, claims: int) -> ClaimVerdict:
    whole = {cell: q.arms[cell] for cell in q.cells}
    look, waiting = _look(q, whole.values())
    arms = {cell: arm.only(q.seeds[:look]) if look else arm for cell, arm in whole.items()}
    missing = tuple(cell for cell, arm in whole.items() if not arm.n)
    steps = q.steps
    tests = [
        put_to_test([arms[cell] for cell in s.arms], s.weights, q.arms.values()) for s in steps
    ]
    weakest = max(range(len(steps)), key=lambda i: _weakness(tests[i]))
    step, found = steps[weakest], tests[weakest].estimate
    p, opposite, smaller = _pvalues(q, tests) if look else (None, None, None)
    picked = [arms[cell] for cell in step.arms]
    pair = [arm for _, arm in sorted(zip(step.weights, picked, strict=True), key=lambda p: p[0])]
    two = len(pair) == 2 and not missing
    return ClaimVerdict(
        kind="undecided",
        operator=q.operator,
        margin=q.margin,
        comparable=q.comparable,
        look=look,
        n=min(arm.n for arm in whole.values()),
        missing=missing,
        waiting=waiting,
        diverged={cell: len(arm.diverged) for cell, arm in arms.items() if arm.diverged},
        uneven=tuple(dict.fromkeys(cell for test in tests for cell in test.uneven)),
        hidden=max(test.hidden for test in tests),
        not_learnt=tuple(cell for cell in q.cells if cell in q.not_learnt),
        estimate=found,
        step=step.arms,
        paired=paired_interval(picked, step.weights) if look else None,
        published=q.published[weakest] if q.published else None,
        p=p,
        opposite_p=opposite,
        smaller_p=smaller,
        images_p=_images_p(steps, tests, arms) if look and q.operator != "~" else None,
        superiority=superiority(pair[0].errors, pair[1].errors) if two else None,
        published_z=_published_z(q, step, found, weakest),
        seeds_needed=_seeds_needed(q, step, found, claims),
    )


def _look(q: Question, arms: Iterable[Arm]) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Return the latest complete look, and the runs that the next one lacks."""
    reached = 0
    for look in LOOKS:
        lacking = tuple(
            (arm.cell, seed) for arm in arms for seed in q.seeds[:look] if seed not in arm.seeds
        )
        if lacking or len(q.seeds) < look:
            return reached, lacking
        reached = look
    return reached, ()


def _pvalues(
    q: Question, tests: Sequence[Tested]
) -> tuple[float | None, float | None, float | None]:
    """Return the claim's p-values: for, against, smaller than published.

    All steps must hold: the largest p (intersection-union test, Berger 1982). One step suffices
    against: the smallest, times the steps that it could have been.
    """
    if q.margin is not None:
        (test,) = tests
        if test.p is None or test.uneven:
            return None, None, None
        return test.estimate.p_within(q.margin), test.estimate.p_beyond(q.margin), None
    below = [
        test.estimate.p_below(size)
        for test, size in zip(tests, q.published, strict=True)
        if not test.uneven and size > 0
    ] if q.comparable and q.published else []  # fmt: skip
    known = [test.p for test in tests if test.p is not None]
    p = max(known) if len(known) == len(tests) else None
    return p, _any((test.opposite_p for test in tests), len(tests)), _any(below, len(tests))


def _any(pvalues: Iterable[float | None], steps: int) -> float | None:
    known = [p for p in pvalues if p is not None]
    return min(1.0, steps * min(known)) if known else None


def _weakness(test: Tested) -> tuple[bool, float, float]:
    """Sort key: the step with an unknown p, then with the largest."""
    p = test.p
    return (p is None, 0.0 if p is None else p, -test.estimate.effect)


def _images_p(
    steps: Sequence[Step[str]], tests: Sequence[Tested], arms: Mapping[str, Arm]
) -> float | None:
    found = []
    for step, test in zip(steps, tests, strict=True):
        order = sorted(zip(step.weights, step.arms, strict=True))
        better, worse = (arms[cell].correct for _, cell in (order[0], order[-1]))
        if len(order) != 2 or test.uneven or better is None or worse is None:
            return None
        found.append(other_images_p(test.estimate, better, worse))
    return max(found)


def _published_z(q: Question, step: Step[str], found: Estimate, at: int) -> float | None:
    if not q.published:
        return None
    sd = found.sd if math.isfinite(found.sd) and q.comparable else 0.0
    return q.published[at] / (sd or USUAL_SD_PP * math.hypot(*step.weights))


def _seeds_needed(q: Question, step: Step[str], found: Estimate, claims: int) -> int | None:
    """The look that finds the published difference (without one: ours), or shows equivalence."""
    delta = found.effect
    if q.margin is not None:
        delta = q.margin
    elif q.comparable and q.published:
        delta = min(q.published)
    sd = found.sd
    if not math.isfinite(sd) and q.planning_sd is not None:
        sd = q.planning_sd * math.hypot(*step.weights)
    tests = 2 if q.margin is not None else len(q.steps)
    return first_look(delta, sd, len(step.arms), alpha=ALPHA / claims, tests=tests)
