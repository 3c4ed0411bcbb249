"""Judges the sentences of a source: an order, an equivalence or a trend over the arms of a suite.

A claim is a set of contrasts that must all be above 0 (`steps_of`). It holds when the weakest of
them does; it fails when one of them is below 0, and is smaller than published when one of them is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from resbench.stats.contrasts import (
    Estimate,
    Step,
    Tested,
    other_images_p,
    paired_interval,
    put_to_test,
    steps_of,
)
from resbench.stats.multiplicity import ALPHA, Waiting, complete_look, holm, times_looks
from resbench.stats.power import first_look
from resbench.stats.spread import USUAL_SD_PP, Arm
from resbench.stats.textbook import Interval, finite, superiority
from resbench.suite.claims import ParsedClaim

ClaimKind = Literal[
    "confirmed", "contradicted", "holds_here", "reversed_here", "smaller", "leans_for",
    "leans_against", "undecided", "not_learnt", "not_run",
]  # fmt: skip
"""In another setting than the source's, "confirmed" is "holds_here" and "contradicted"
"reversed_here": nothing there must read like a replication."""

SMALLEST_PP = 0.1
"""A smaller measured difference is neither confirmed nor contradicted, however many runs show it:
it is a quarter of the smallest difference that the sources make anything of."""


@dataclass(frozen=True)
class Question:
    """One claim and the arms of its suite."""

    claim: ParsedClaim
    arms: Mapping[str, Arm] = field(repr=False)
    """All arms of the suite by cell, of the error that the claim is about."""
    seeds: Sequence[int]
    """In the order in which looks take them."""
    margin: float | None = None
    """Of a claim "~", and of no other."""
    published: Sequence[float] = ()
    """The source's difference at every step, positive as claimed; nothing where not published."""
    at_published_setting: bool = True
    """Whether the runs are of the source's setting, so that its sizes mean something for them."""
    not_learnt: Sequence[str] = ()
    """Cells of the claim that the learning guard keeps from being decided about."""
    ours: bool = False
    """Whether no source makes the claim; such claims are a family of their own."""
    usual_sd: float | None = USUAL_SD_PP
    """Of one run at the source's setting, while none is measured; None where none is known."""
    planning_sd: float | None = None
    """A guess of one run's sd for the seeds needed, while none is measured."""


@dataclass(frozen=True, kw_only=True)
class ClaimVerdict:
    """The verdict and its evidence, in percentage points, positive as claimed.

    p-values are one-sided over runs; adjusted ones are for the looks and for the claims of the
    family. Of a chain, all numbers are those of one step: that which decides, else the weakest.
    """

    verdict: ClaimKind
    at_published_setting: bool
    n: int
    """Seeds that every arm has, also those after the look; before one, all numbers are of these."""
    look: int
    """Seeds an arm that the verdict stands on; 0 while there are too few."""
    published_pp: float | None
    published_z: float | None
    """The published difference over its sd, at one run a cell."""
    effect_pp: float | None
    se_pp: float | None
    df: float | None
    interval: Interval | None
    """None before a look."""
    paired_interval: Interval | None
    """Of the same effect, paired by seed; no verdict rests on it."""
    superiority: float | None
    """The share of pairs of runs, one of each arm, that show the order; None for a trend and for
    "~"."""
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
    """The look that finds a true difference with power 0.8: as large as published at the source's
    setting, else as measured; of an equivalence, that shows it where there is none."""
    cells: tuple[str, ...]
    """Every cell that it compares."""
    missing: tuple[str, ...]
    """Those without a run."""
    waiting: Waiting
    diverged: Mapping[str, int]
    """How many of the runs that count diverged, by cell, where any did."""
    diverged_later: Mapping[str, int]
    """The same of the runs after the look: no claim is decided over them."""
    uneven: tuple[str, ...]
    """Cells that were tested by ranks, or kept a trend from being tested."""
    hidden_pp: float
    """Points by which the effect must be larger, as seeds ended far off in arms like these."""
    not_learnt: tuple[str, ...]
    """Cells whose networks had not learnt when training ended."""

    @property
    def has_runs(self) -> bool:
        """Whether every cell that it compares has a run."""
        return self.verdict != "not_run"


class _Side(NamedTuple):
    """One of three questions: for the claim, against it, smaller than published."""

    p: float | None
    """Of this claim alone; None where nothing decides."""
    step: int
    """The step that it is about."""


@dataclass(frozen=True)
class _Evidence:
    """What the runs of one claim say, before its family is known."""

    question: Question
    look: int
    waiting: Waiting
    arms: Mapping[str, Arm]
    """All arms of the suite, with the runs of the look alone; before one, of the shared seeds."""
    steps: Sequence[Step]
    tests: Sequence[Tested]
    """Of every step."""
    sides: tuple[_Side, _Side, _Side]

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(cell for cell in self.question.claim.cells if not self.question.arms[cell].n)

    @property
    def hidden(self) -> float:
        return max(test.hidden for test in self.tests)

    @property
    def later(self) -> dict[str, int]:
        """How many runs after the look diverged, by cell."""
        if not self.look:
            return {}
        whole, cells = self.question.arms, self.question.claim.cells
        late = {cell: len(whole[cell].diverged - self.arms[cell].diverged) for cell in cells}
        return {cell: runs for cell, runs in late.items() if runs}


def judge_questions(questions: Sequence[Question]) -> tuple[ClaimVerdict, ...]:
    """Judge all claims that a suite declares, corrected for looks and for their number.

    The claims of the sources are one family, those of ours another, and in each there are three:
    for, against, and smaller than published. Each has a rate of false alarms of at most ALPHA over
    the suite and all looks together.
    """
    families = {
        ours: iter(_judge_family([q for q in questions if q.ours == ours]))
        for ours in (False, True)
    }
    return tuple(next(families[question.ours]) for question in questions)


def _judge_family(questions: Sequence[Question]) -> list[ClaimVerdict]:
    found = [_evidence(question) for question in questions]
    sides = [holm([times_looks(e.sides[side].p) for e in found]) for side in range(3)]
    adjusted = zip(*sides, strict=True)
    return [_verdict(e, ps, len(found)) for e, ps in zip(found, adjusted, strict=True)]


def _evidence(q: Question) -> _Evidence:
    look, waiting = complete_look([q.arms[cell] for cell in q.claim.cells], q.seeds)
    # What came after the look is in none of its numbers, so that they stay what they are. Before
    # one, arms of unequal numbers would differ by luck of seeds.
    seeds = q.seeds[:look] if look else _shared_seeds(q)
    arms = {cell: arm.only(seeds) for cell, arm in q.arms.items()}
    steps, alike = steps_of(q.claim), q.claim.operator == "~"
    tests = [
        put_to_test([arms[cell] for cell in step.arms], step.weights, arms.values(), alike=alike)
        for step in steps
    ]
    return _Evidence(q, look, waiting, arms, steps, tests, _sides(q, tests, decides=look > 0))


def _shared_seeds(q: Question) -> list[int]:
    """Return the seeds that every arm of the claim has."""
    first, *others = (q.arms[cell].seeds for cell in q.claim.cells)
    return [seed for seed in first if all(seed in seeds for seeds in others)]


def _sides(q: Question, tests: Sequence[Tested], *, decides: bool) -> tuple[_Side, _Side, _Side]:
    """Return the claim's p-values, each with its step.

    All steps must hold: the largest p (intersection-union test, Berger 1982). One step suffices
    against: the smallest, times the steps that it could have been.
    """
    weakness = [(t.p is None, t.p or 0.0, -t.estimate.effect) for t in tests]  # unknown is weakest
    weakest = weakness.index(max(weakness))
    unknown = _Side(None, weakest)
    if not decides:
        return unknown, unknown, unknown
    if q.margin is not None:
        (test,) = tests
        if test.uneven:
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

    It spreads as measured ones would at one run a cell.
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


def _kind(e: _Evidence, adjusted: Sequence[float | None]) -> tuple[ClaimKind, _Side]:
    """Return the verdict, and the side that carries it.

    Whatever networks that have not learnt show is their order at this stage, and no more.
    """
    kind, side = _kind_of_learnt(e, adjusted)
    if e.question.not_learnt and kind not in ("undecided", "not_run"):
        return "not_learnt", side
    return kind, side


def _kind_of_learnt(e: _Evidence, adjusted: Sequence[float | None]) -> tuple[ClaimKind, _Side]:
    pro, against, smaller = e.sides
    if e.missing:
        return "not_run", pro
    if not e.look:
        return "undecided", pro

    def shown(p: float | None) -> bool:
        return p is not None and p <= ALPHA

    if e.question.claim.operator == "~":
        enough = [not e.hidden] * 2
    else:
        least = SMALLEST_PP + e.hidden - 1e-9  # 5.6 - 5.5 is a little below 0.1
        effects = [test.estimate.effect for test in e.tests]
        enough = [min(effects) >= least, effects[against.step] <= -least]
    here = e.question.at_published_setting
    if not e.later:
        if shown(adjusted[0]) and enough[0]:
            return ("confirmed" if here else "holds_here"), pro
        if shown(adjusted[1]) and enough[1]:
            return ("contradicted" if here else "reversed_here"), against
        if shown(adjusted[2]) and not e.hidden:
            return "smaller", smaller
    if shown(pro.p):
        return "leans_for", pro
    return ("leans_against", against) if shown(against.p) else ("undecided", pro)


def _verdict(e: _Evidence, adjusted: Sequence[float | None], claims: int) -> ClaimVerdict:
    q, (kind, side) = e.question, _kind(e, adjusted)
    cells, step, test = q.claim.cells, e.steps[side.step], e.tests[side.step]
    found = test.estimate
    picked = [e.arms[cell] for cell in step.arms]
    is_order = len(picked) == 2 and q.margin is None and all(arm.n for arm in picked)
    published = q.published[side.step] if q.published else None
    uneven = {cell for each in e.tests for cell in each.uneven}
    of_chain = {
        "monotone_increasing": " < ".join(step.arms),
        "monotone_decreasing": " > ".join(reversed(step.arms)),
    }
    return ClaimVerdict(
        verdict=kind,
        at_published_setting=q.at_published_setting,
        n=len(_shared_seeds(q)),
        look=e.look,
        published_pp=published,
        published_z=_published_z(q, step, math.nan if test.diverged else found.sd, published),
        effect_pp=finite(found.effect),
        se_pp=finite(found.se),
        df=finite(found.df),
        interval=test.interval if e.look else None,  # one of two runs would mislead
        paired_interval=paired_interval(picked, step.weights) if e.look else None,
        superiority=superiority(picked[0].ranked, picked[1].ranked) if is_order else None,
        p=e.sides[0].p,
        p_adjusted=adjusted[0],
        p_against=e.sides[1].p,
        p_against_adjusted=adjusted[1],
        p_smaller=e.sides[2].p,
        p_smaller_adjusted=adjusted[2],
        p_images=_p_images(e) if e.look and q.margin is None else None,
        step=of_chain.get(q.claim.operator),
        seeds_needed=_seeds_needed(e, step, found, claims),
        cells=cells,
        missing=e.missing,
        waiting=e.waiting,
        diverged={cell: len(e.arms[cell].diverged) for cell in cells if e.arms[cell].diverged},
        diverged_later=e.later,
        uneven=tuple(cell for cell in cells if cell in uneven),
        hidden_pp=e.hidden,
        not_learnt=tuple(q.not_learnt),
    )


def _p_images(e: _Evidence) -> float | None:
    found = []
    for step, test in zip(e.steps, e.tests, strict=True):
        better, worse = (e.arms[cell].correct for cell in step.arms[:2])
        if len(step.arms) > 2 or test.uneven or better is None or worse is None:
            return None
        found.append(other_images_p(test.estimate, better, worse))
    return max(found)


def _published_z(q: Question, step: Step, sd: float, published: float | None) -> float | None:
    """Return a published difference over its sd: as measured at its own setting, else the usual."""
    sd = sd if math.isfinite(sd) and q.at_published_setting else 0.0
    sd = sd or (q.usual_sd or 0.0) * math.hypot(*step.weights)
    return published / sd if published is not None and sd else None


def _seeds_needed(e: _Evidence, step: Step, found: Estimate, claims: int) -> int | None:
    """Return the look of ``ClaimVerdict.seeds_needed``; None where none does, or it is unknown."""
    q, delta, sd, tests = e.question, found.effect, found.sd, len(e.steps)
    if q.margin is not None:
        delta, tests = q.margin, 2
    elif q.at_published_setting and q.published:
        delta = min(q.published)
    if q.margin is None and delta < SMALLEST_PP:
        return None  # however many seeds show it
    if not math.isfinite(sd) and q.planning_sd is not None:
        sd = q.planning_sd * math.hypot(*step.weights)
    return first_look(delta, sd, step.weights, alpha=ALPHA / claims, tests=tests)
