"""The sentences of a source, judged within one table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from resbench.analysis.arms import arms_of, same_images
from resbench.analysis.declared import as_declared, published_steps
from resbench.analysis.results import seed_of
from resbench.analysis.tables import TableRuns
from resbench.datasets import DATA_SETS
from resbench.errors import ResbenchError
from resbench.stats.claims import ClaimVerdict, Question, judge_questions
from resbench.stats.guard import guessing_error, last_fall, near_guessing, still_falling
from resbench.stats.multiplicity import complete_look, seeds_in_order
from resbench.stats.spread import USUAL_SD_PP, Arm
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.store.records import RunRecord
from resbench.suite.expand import parsed_claims
from resbench.suite.schema import SIGNAL_METRICS, Claim, Metric


@dataclass(frozen=True, kw_only=True)
class JudgedClaim(ClaimVerdict):
    """A claim of a source, judged on the runs of one table."""

    claim: Claim


def judge_claims(table: TableRuns) -> tuple[JudgedClaim, ...]:
    """Judge the suite's claims on the runs of this table alone."""
    found = judge_questions(_questions(table))
    pairs = zip(table.expanded.loaded.suite.claims, found, strict=True)
    return tuple(JudgedClaim(claim=claim, **vars(verdict)) for claim, verdict in pairs)


def _questions(table: TableRuns) -> list[Question]:
    """Return all claims of a table: the corrections are for their number."""
    suite, context = table.expanded.loaded.suite, table.expanded.context
    parsed = parsed_claims(table.expanded)
    arms = {metric: arms_of(table, metric) for metric in {c.metric for c in suite.claims}}
    seeds = seeds_in_order(table.expanded.declared_seeds)
    questions = []
    for claim, one in zip(suite.claims, parsed, strict=True):
        own: Mapping[str, Arm] = arms[claim.metric]
        runs = (run.key for name in one.cells for run in table.cells[name].done)
        if not same_images(table.predictions[key] for key in runs if key in table.predictions):
            own = {name: replace(arm, kept={}) for name, arm in own.items()}
        keeps = not any(table.departures(name) for name in one.cells)
        # At the source's own schedule what training reaches is what the claim is about.
        whole = keeps and as_declared(context)
        seen = {table.choice(table.cells[name]) for name in one.cells}
        guarded = () if whole or claim.metric in SIGNAL_METRICS else one.cells
        look, _ = complete_look([own[name] for name in one.cells], seeds)
        usual_sd = None if claim.metric in SIGNAL_METRICS else USUAL_SD_PP
        counted = seeds[:look] or seeds  # what a look is read from decides whether arms have learnt
        questions.append(
            Question(
                one,
                own,
                seeds,
                margin=claim.margin_pp,
                published=published_steps(table.expanded, claim, one),
                at_published_setting=whole and all(choice and choice.published for choice in seen),
                not_learnt=[
                    name
                    for name in guarded
                    if not _has_learnt(table, claim.metric, own[name].only(counted))
                ],
                ours=claim.ours,
                usual_sd=usual_sd,
                planning_sd=usual_sd if whole else None,
            )
        )
    return questions


def _has_learnt(table: TableRuns, metric: Metric, arm: Arm) -> bool:
    """Whether these runs of an arm got well below guessing, and their error had stopped falling."""
    runs = [run for run in table.cells[arm.cell].done if seed_of(run) in arm.seeds]
    if not runs:
        return True  # the claim is not run, or all its runs diverged
    errors = arm.ended.values()
    classes = DATA_SETS[runs[0].data.name].classes
    falls = _falls(table, runs, metric, guessing_error(classes))
    near = bool(errors) and near_guessing(math.fsum(errors) / len(errors), classes)
    return not near and not still_falling(falls, arm.chance_variance)


def _falls(
    table: TableRuns, runs: Iterable[RunRecord], metric: Metric, guessing: float
) -> list[float]:
    """Return how far each run's error fell over the last tenth of its epochs, where it is known."""
    found = []
    for run in runs:
        try:
            epochs = read_epochs(RunFolder(table.results, run.key).metrics, EpochMetrics)
        except ResbenchError:
            continue
        errors = [getattr(epoch, metric) for epoch in epochs]
        if errors and None not in errors:
            found.append(last_fall(errors, guessing))
    return found
