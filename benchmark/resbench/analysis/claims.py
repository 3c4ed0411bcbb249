"""The sentences of a source, judged within one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from resbench.analysis.arms import Kept, arms_of, kept_of, seeds_in_order
from resbench.analysis.declared import as_declared, as_published
from resbench.analysis.power import published_steps
from resbench.analysis.tables import CellRuns, TableRuns
from resbench.datasets import DATA_SETS
from resbench.errors import ResbenchError
from resbench.stats.claims import ClaimKind, ClaimVerdict, Question
from resbench.stats.claims import judge_claims as judged
from resbench.stats.guard import near_guessing, still_falling
from resbench.stats.spread import USUAL_SD_PP, Arm
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.suite.claims import ParsedClaim
from resbench.suite.expand import parsed_claims
from resbench.suite.schema import SIGNAL_METRICS, Claim, Metric


@dataclass(frozen=True)
class JudgedClaim:
    """A claim of a source, judged on the runs of one table.

    Differences are percentage points, positive as claimed; p-values are one-sided over runs.
    """

    claim: Claim
    verdict: ClaimKind
    at_published_setting: bool
    """Whether the runs are of the source's own setting, so that the verdict is one on its claim."""
    n: int
    """Runs of the smallest arm."""
    look: int
    """Seeds an arm that the verdict stands on; 0 while there are too few."""
    published_pp: float | None
    published_z: float | None
    """The published difference over its sd, at one run a cell."""
    effect_pp: float | None
    interval: tuple[float, float] | None
    """At 95 %."""
    paired_interval: tuple[float, float] | None
    """Of the same effect at 95 %, paired by seed; no verdict rests on it."""
    superiority: float | None
    """The share of pairs of runs, one of each arm, that show the order."""
    p: float | None
    p_adjusted: float | None
    """For the looks and for the other claims of the suite."""
    p_images: float | None
    """For other test images too."""
    step: str | None
    """Of a chain, the weakest step, which the numbers are about."""
    seeds_needed: int | None
    """The look that finds the published difference with power 0.8."""
    waiting: tuple[str, ...]
    """The runs that keep the next look from being complete, ``cell seed n``."""
    diverged: Mapping[str, int]
    """Diverged runs by cell."""
    uneven: tuple[str, ...]
    """Cells whose runs differ too far from each other for a test of means."""
    hidden_pp: float
    """What failures may take from the effect unseen, as seeds failed in cells of the same kind."""
    not_learnt: tuple[str, ...]
    """Cells whose networks had not learnt when training ended."""

    @property
    def has_runs(self) -> bool:
        """Whether every cell that it compares has a run."""
        return self.verdict != "not_run"


def judge_claims(table: TableRuns, kept: Kept | None = None) -> tuple[JudgedClaim, ...]:
    """Judge the suite's claims on the runs of this table alone.

    ``kept`` are its predictions where they are read already.
    """
    questions = _questions(table, kept or kept_of(table))
    found = judged(questions) if questions else ()
    triples = zip(table.expanded.loaded.suite.claims, found, questions, strict=True)
    return tuple(_judged(claim, verdict, asked.comparable) for claim, verdict, asked in triples)


def _judged(claim: Claim, found: ClaimVerdict, published: bool) -> JudgedClaim:
    interval, chain = found.estimate.interval(), found.operator.startswith("monotone")
    sign = " < " if found.operator == "monotone_increasing" else " > "
    known = found.kind != "not_run" and math.isfinite(interval.half_width)
    return JudgedClaim(
        claim=claim,
        verdict=found.kind,
        at_published_setting=published,
        n=found.n,
        look=found.look,
        published_pp=found.published,
        published_z=found.published_z,
        effect_pp=found.effect if math.isfinite(found.effect) else None,
        interval=(interval.low, interval.high) if known else None,
        paired_interval=(found.paired.low, found.paired.high) if found.paired else None,
        superiority=found.superiority,
        p=found.p,
        p_adjusted=found.adjusted_p,
        p_images=found.images_p,
        step=sign.join(found.step) if chain else None,
        seeds_needed=found.seeds_needed,
        waiting=tuple(f"{cell} seed {seed}" for cell, seed in found.waiting),
        diverged=found.diverged,
        uneven=found.uneven,
        hidden_pp=found.hidden,
        not_learnt=found.not_learnt,
    )


def _questions(table: TableRuns, kept: Kept) -> list[Question]:
    """Return all claims of a table: the corrections are for their number."""
    suite, context = table.expanded.loaded.suite, table.expanded.context
    parsed = parsed_claims(table.expanded)
    arms = arms_of(table, [claim.metric for claim in suite.claims], kept)
    seeds = seeds_in_order(table)
    questions = []
    for claim, one in zip(suite.claims, parsed, strict=True):
        own: Mapping[str, Arm] = arms[claim.metric]
        if len(_labels(table, one, kept)) > 1:
            own = {name: replace(arm, correct=None) for name, arm in own.items()}
        keeps = not any(table.departures(name) for name in one.cells)
        # At the source's own schedule what training reaches is what the claim is about.
        whole = keeps and as_declared(context)
        guarded = () if whole or claim.metric in SIGNAL_METRICS else one.cells
        questions.append(
            Question(
                one.operator,
                one.terms,
                own,
                seeds,
                margin=claim.margin_pp,
                published=published_steps(table.expanded, claim, one) or (),
                comparable=keeps and as_published(context),
                not_learnt=[
                    name for name in guarded if not _has_learnt(table, name, claim.metric, own)
                ],
                ours=claim.ours,
                planning_sd=USUAL_SD_PP if as_declared(context) else None,
            )
        )
    return questions


def _labels(table: TableRuns, parsed: ParsedClaim, kept: Kept) -> set[bytes]:
    runs = (run for name in parsed.cells for run in table.cells[name].done)
    return {kept.labels[run.key] for run in runs if run.key in kept.labels}


def _has_learnt(table: TableRuns, name: str, metric: Metric, arms: Mapping[str, Arm]) -> bool:
    """Whether an arm got well below guessing, and its error had stopped falling."""
    cell, arm = table.cells[name], arms[name]
    if not cell.done:
        return True  # the claim is not run, or all its runs diverged
    falls = _falls(table, cell, metric)
    errors = [error for seed, error in zip(arm.seeds, arm.errors, strict=True)
              if seed not in arm.diverged]  # fmt: skip
    classes = DATA_SETS[cell.done[0].data.name].classes
    near = bool(errors) and near_guessing(math.fsum(errors) / len(errors), classes)
    return not near and not still_falling(falls, arm.chance_variance)


def _falls(table: TableRuns, cell: CellRuns, metric: Metric) -> list[float]:
    """Return how far each run's error fell over the last tenth of its epochs, where it is known."""
    found = []
    for run in cell.done:
        try:
            epochs = read_epochs(RunFolder(table.results, run.key).metrics, EpochMetrics)
        except ResbenchError:
            continue
        if len(epochs) > 1:
            before = getattr(epochs[min(len(epochs) - 1, len(epochs) * 9 // 10) - 1], metric)
            last = getattr(epochs[-1], metric)
            if before is not None and last is not None:
                found.append(before - last)
    return found
