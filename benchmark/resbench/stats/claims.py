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

from resbench.stats.contrasts import Tested, paired_interval, put_to_test
from resbench.stats.images import other_images_p
from resbench.stats.multiplicity import ALPHA, LOOKS, holm, times_looks
from resbench.stats.power import first_look
from resbench.stats.ranks import superiority
from resbench.stats.spread import USUAL_SD_PP, Arm
from resbench.stats.steps import Operator, Step, steps_of

ClaimKind = Literal[
    "confirmed",
    "contradicted",
    "holds_here",
    "reversed_here",
    "smaller",
    "leans_for",
    "leans_against",
    "undecided",
    "not_learnt",
    "not_run",
]
"""In another setting than the source's, "confirmed" is "holds_here" and "contradicted"
"reversed_here": nothing there must read like a replication."""

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
    at_published_setting: bool = True
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


@dataclass(frozen=True, kw_only=True)
class ClaimVerdict:
    """The verdict and its evidence, in percentage points, positive as claimed.

    p-values are one-sided over runs; adjusted ones are for the looks and for the claims of the
    family. Of a chain, all numbers are those of one step: that which decides, else the weakest.
    """

    verdict: ClaimKind
    at_published_setting: bool
    """Whether the runs are of the source's own setting, so that the verdict is one on its claim."""
    n: int
    """Runs of the smallest arm, also those after the look."""
    look: int
    """Seeds an arm that the verdict stands on; 0 while there are too few."""
    published_pp: float | None
    published_z: float | None
    """The published difference over its sd, at one run a cell."""
    effect_pp: float | None
    se_pp: float | None
    df: float | None
    interval: tuple[float, float] | None
    """At 95 %; None before a look."""
    paired_interval: tuple[float, float] | None
    """Of the same effect at 95 %, paired by seed; no verdict rests on it."""
    superiority: float | None
    """The share of pairs of runs, one of each arm, that show the order; None for a trend."""
    p: float | None
    p_adjusted: float | None
    p_against: float | None
    """For the opposite of the claim."""
    p_against_adjusted: float | None
    p_smaller: float | None
    """For "smaller than published": the setting must be the source's."""
    p_smaller_adjusted: float | None
    p_images: float | None
    """For the claim on other test images too; None without predictions or after ranks."""
    step: str | None
    """Of a chain, the step that the numbers are about."""
    seeds_needed: int | None
    """The look that finds the published (else: the measured) difference with power 0.8."""
    cells: tuple[str, ...]
    """Every cell that it compares."""
    missing: tuple[str, ...]
    """Those without a run."""
    waiting: tuple[tuple[str, int], ...]
    """Runs (cell, seed) that the next look lacks."""
    diverged: Mapping[str, int]
    """How many of the runs that count diverged, by cell, where any did."""
    diverged_later: Mapping[str, int]
    """The same of the runs after the look: no claim is decided over them."""
    uneven: tuple[str, ...]
    """Cells that were tested by ranks, or kept a trend from being tested."""
    hidden_pp: float
    """Points by which the effect must be larger, as seeds failed in arms like its better ones."""
    not_learnt: tuple[str, ...]
    """Cells whose networks had not learnt when training ended."""

    @property
    def has_runs(self) -> bool:
        """Whether every cell that it compares has a run."""
        return self.verdict != "not_run"


@dataclass(frozen=True)
class _Side:
    """One of three questions: for the claim, against it, smaller than published."""

    p: float | None
    """Of this claim alone."""
    step: int
    """The step that it is about."""


@dataclass(frozen=True)
class _Evidence:
    """What the runs of one claim say, before its family is known."""

    question: Question
    look: int
    waiting: tuple[tuple[str, int], ...]
    arms: Mapping[str, Arm]
    """All arms of the suite, with the runs of the look alone."""
    tests: Sequence[Tested]
    """Of every step."""
    sides: tuple[_Side, _Side, _Side]

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(cell for cell in self.question.cells if not self.arms[cell].n)

    @property
    def not_learnt(self) -> tuple[str, ...]:
        return tuple(cell for cell in self.question.cells if cell in self.question.not_learnt)

    @property
    def hidden(self) -> float:
        return max(test.hidden for test in self.tests)

    @property
    def later(self) -> dict[str, int]:
        """How many runs after the look diverged, by cell."""
        whole = self.question.arms
        late = {c: len(whole[c].diverged - self.arms[c].diverged) for c in self.question.cells}
        return {cell: runs for cell, runs in late.items() if runs}


def judge_claims(questions: Sequence[Question]) -> tuple[ClaimVerdict, ...]:
    """Judge all claims that a suite declares, corrected for looks and for their number.

    The claims of the sources are one family, those of ours another, and in each there are three:
    for, against, and smaller than published. Each has a rate of false alarms of at most ALPHA over
    the suite and all looks together.
    """
    sizes = Counter(question.ours for question in questions)
    found = list(map(_evidence, questions))
    adjusted: list[list[float | None]] = [[None] * 3 for _ in found]
    for ours in (False, True):
        family = [i for i, question in enumerate(questions) if question.ours == ours]
        for side in range(3):
            corrected = holm([times_looks(found[i].sides[side].p) for i in family])
            for i, p in zip(family, corrected, strict=True):
                adjusted[i][side] = p
    return tuple(
        _verdict(evidence, ps, sizes[evidence.question.ours])
        for evidence, ps in zip(found, adjusted, strict=True)
    )


def _evidence(q: Question) -> _Evidence:
    look, waiting = _look(q, [q.arms[cell] for cell in q.cells])
    # What came after the look is in none of its numbers, so that they stay what they are.
    arms = {cell: arm.among(q.seeds[:look]) if look else arm for cell, arm in q.arms.items()}
    tests = [
        put_to_test(
            [arms[cell] for cell in step.arms], step.weights, arms.values(),
            alike=q.operator == "~",
        )
        for step in q.steps
    ]  # fmt: skip
    return _Evidence(q, look, waiting, arms, tests, _sides(q, tests, decides=look > 0))


def _look(q: Question, arms: Iterable[Arm]) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Return the latest complete look, and the runs that the next one lacks."""
    reached, arms = 0, list(arms)
    for look in LOOKS:
        lacking = tuple(
            (arm.cell, seed) for arm in arms for seed in q.seeds[:look] if seed not in arm.seeds
        )
        if lacking or len(q.seeds) < look:
            return reached, lacking
        reached = look
    return reached, ()


def _sides(q: Question, tests: Sequence[Tested], *, decides: bool) -> tuple[_Side, _Side, _Side]:
    """Return the claim's p-values, each with its step; None for all where nothing decides.

    All steps must hold: the largest p (intersection-union test, Berger 1982). One step suffices
    against: the smallest, times the steps that it could have been.
    """
    weakest = max(range(len(tests)), key=lambda i: _weakness(tests[i]))
    unknown = _Side(None, weakest)
    if not decides:
        return unknown, unknown, unknown
    if q.margin is not None:
        (test,) = tests
        if test.p is None or test.uneven:
            return unknown, unknown, unknown
        within, beyond = test.estimate.p_within(q.margin), test.estimate.p_beyond(q.margin)
        return _Side(within, 0), _Side(beyond, 0), unknown
    against = _any([test.opposite_p for test in tests], weakest)
    smaller = unknown
    if q.at_published_setting and q.published:
        smaller = _any(list(map(_p_smaller, tests, q.published)), weakest)
    return _Side(tests[weakest].p, weakest), against, smaller


def _p_smaller(test: Tested, published: float) -> float | None:
    """Return the p for a true difference below the published one, which is that of two runs.

    It spreads as ours would at one run a cell.
    """
    if test.uneven or published <= 0:
        return None
    found = test.estimate
    return replace(found, se=math.hypot(found.se, found.sd)).p_below(published)


def _any(pvalues: Sequence[float | None], otherwise: int) -> _Side:
    """Return the smallest p, times the steps that it could have been."""
    known = [(p, i) for i, p in enumerate(pvalues) if p is not None]
    if not known:
        return _Side(None, otherwise)
    p, step = min(known)
    return _Side(min(1.0, len(pvalues) * p), step)


def _weakness(test: Tested) -> tuple[bool, float, float]:
    """Sort key: the step with an unknown p, then with the largest."""
    p = test.p
    return (p is None, 0.0 if p is None else p, -test.estimate.effect)


def _kind(e: _Evidence, adjusted: Sequence[float | None]) -> tuple[ClaimKind, _Side]:
    """Return the verdict, and the side that carries it."""
    pro, against, smaller = e.sides
    if e.missing:
        return "not_run", pro
    if not e.look:
        return "undecided", pro
    if e.not_learnt:
        return "not_learnt", pro

    def shown(p: float | None) -> bool:
        return p is not None and p <= ALPHA

    here, least = e.question.at_published_setting, SMALLEST_PP + e.hidden
    if e.question.operator == "~":
        enough = [not e.hidden] * 2
    else:
        effects = [e.tests[side.step].estimate.effect for side in (pro, against)]
        enough = [effects[0] >= least, effects[1] <= -least]
    if not e.later:
        if shown(adjusted[0]) and enough[0]:
            return ("confirmed" if here else "holds_here"), pro
        if shown(adjusted[1]) and enough[1]:
            return ("contradicted" if here else "reversed_here"), against
        if shown(adjusted[2]):
            return "smaller", smaller
    if shown(pro.p):
        return "leans_for", pro
    return ("leans_against", against) if shown(against.p) else ("undecided", pro)


def _verdict(e: _Evidence, adjusted: Sequence[float | None], claims: int) -> ClaimVerdict:
    q, (kind, side) = e.question, _kind(e, adjusted)
    step, test = q.steps[side.step], e.tests[side.step]
    picked = [e.arms[cell] for cell in step.arms]
    ordered = sorted(zip(step.weights, picked, strict=True), key=lambda pair: pair[0])
    pair = [arm for _, arm in ordered]
    two, found = len(pair) == 2 and not e.missing, test.estimate
    interval = found.interval()
    known = e.look > 0 and math.isfinite(interval[0])  # one of two runs would mislead
    sign = {"monotone_increasing": " < ", "monotone_decreasing": " > "}.get(q.operator)
    return ClaimVerdict(
        verdict=kind,
        at_published_setting=q.at_published_setting,
        n=min(q.arms[cell].n for cell in q.cells),
        look=e.look,
        published_pp=q.published[side.step] if q.published else None,
        published_z=_published_z(q, step, test, side.step),
        effect_pp=_finite(found.effect),
        se_pp=_finite(found.se),
        df=_finite(found.df),
        interval=interval if known else None,
        paired_interval=paired_interval(picked, step.weights) if e.look else None,
        superiority=superiority(pair[0].ranked, pair[1].ranked) if two else None,
        p=e.sides[0].p,
        p_adjusted=adjusted[0],
        p_against=e.sides[1].p,
        p_against_adjusted=adjusted[1],
        p_smaller=e.sides[2].p,
        p_smaller_adjusted=adjusted[2],
        p_images=_p_images(q, e) if e.look and q.operator != "~" else None,
        step=sign.join(step.arms) if sign else None,
        seeds_needed=_seeds_needed(q, step, test, claims),
        cells=q.cells,
        missing=e.missing,
        waiting=e.waiting,
        diverged={c: len(e.arms[c].diverged) for c in q.cells if e.arms[c].diverged},
        diverged_later=e.later,
        uneven=tuple(dict.fromkeys(cell for test in e.tests for cell in test.uneven)),
        hidden_pp=e.hidden,
        not_learnt=e.not_learnt,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _p_images(q: Question, e: _Evidence) -> float | None:
    found = []
    for step, test in zip(q.steps, e.tests, strict=True):
        order = sorted(zip(step.weights, step.arms, strict=True))
        better, worse = (e.arms[cell].correct for _, cell in (order[0], order[-1]))
        if len(order) != 2 or test.uneven or better is None or worse is None:
            return None
        found.append(other_images_p(test.estimate, better, worse))
    return max(found)


def _published_z(q: Question, step: Step[str], test: Tested, at: int) -> float | None:
    if not q.published:
        return None
    sd = test.estimate.sd
    sd = sd if math.isfinite(sd) and q.at_published_setting else 0.0
    return q.published[at] / (sd or USUAL_SD_PP * math.hypot(*step.weights))


def _seeds_needed(q: Question, step: Step[str], test: Tested, claims: int) -> int | None:
    """The look that finds the published difference (without one: ours), or shows equivalence."""
    delta = test.estimate.effect
    if q.margin is not None:
        delta = q.margin
    elif q.at_published_setting and q.published:
        delta = min(q.published)
    sd = test.estimate.sd
    if not math.isfinite(sd) and q.planning_sd is not None:
        sd = q.planning_sd * math.hypot(*step.weights)
    tests = 2 if q.margin is not None else len(q.steps)
    return first_look(delta, sd, len(step.arms), alpha=ALPHA / claims, tests=tests)
