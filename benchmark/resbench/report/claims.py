"""The sentences of a source, judged within one table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from resbench.errors import ResbenchError
from resbench.report.collect import FilledCell, FilledTable
from resbench.report.contrast import contrast_of
from resbench.report.declared import as_declared, as_printed
from resbench.report.measured import PLANNING_SD_PP, measured
from resbench.report.power import printed_steps
from resbench.report.reading import seed_of
from resbench.stats.claims import ClaimVerdict, evaluate_claim, finalise
from resbench.stats.contrasts import ArmResult
from resbench.store.layout import RunFolder
from resbench.store.predictions import read_predictions
from resbench.suite.claims import ParsedClaim
from resbench.suite.expand import parsed_claims
from resbench.suite.schema import Claim

Kept = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class JudgedClaim:
    """A claim of the suite and its verdict, Holm-adjusted over the table's claims."""

    claim: Claim
    verdict: ClaimVerdict


def judge_claims(table: FilledTable) -> tuple[JudgedClaim, ...]:
    """Judge the suite's claims on the runs of this table alone."""
    suite = table.expanded.loaded.suite
    parsed = parsed_claims(table.expanded)
    kept = _predictions(table, {name for p in parsed for name in p.cells})
    verdicts = [_judge(table, c, p, kept) for c, p in zip(suite.claims, parsed, strict=True)]
    pairs = zip(suite.claims, finalise(verdicts), strict=True)
    return tuple(JudgedClaim(claim, verdict) for claim, verdict in pairs)


def _judge(table: FilledTable, claim: Claim, parsed: ParsedClaim, kept: Kept) -> ClaimVerdict:
    operator, cells = contrast_of(parsed)
    arms = {name: _arm(table.cells[name], claim, kept) for name in parsed.cells}
    judge = partial(
        evaluate_claim,
        operator,
        alpha=claim.alpha,
        margin=claim.margin_pp,
        printed_difference=printed_steps(table.expanded, claim, parsed),
        comparable=as_printed(table.expanded.context),
        planning_sd=PLANNING_SD_PP if as_declared(table.expanded.context) else None,
        claims=len(table.expanded.loaded.suite.claims),
    )
    if operator == "gap_grows":
        return judge([(arms[a], arms[b]) for a, b in cells])
    return judge([arms[name] for (name,) in cells])


def _arm(cell: FilledCell, claim: Claim, kept: Kept) -> ArmResult:
    runs = [(run, value) for run in cell.done if (value := measured(run, claim.metric)) is not None]
    correct = [kept[run.key] for run, _ in runs if run.key in kept]
    tested = claim.metric == "test_top1_err" and correct and len(correct) == len(runs)
    seeds = tuple(seed_of(run) for run, _ in runs)
    errors = tuple(value for _, value in runs)
    return ArmResult(cell.cell.id, seeds, errors, np.stack(correct) if tested else None)


def _predictions(table: FilledTable, cells: Collection[str]) -> Kept:
    """Return per run which test images it got right; nothing where runs saw other images."""
    kept: dict[str, NDArray[np.bool_]] = {}
    labels = None
    for run in (run for name in cells for run in table.cells[name].done):
        try:
            found = read_predictions(RunFolder(table.results, run.key).predictions)
        except ResbenchError:
            return {}  # the errors in the records still decide; only the images cannot be paired
        if labels is not None and not np.array_equal(labels, found.label):
            return {}
        labels = found.label
        kept[run.key] = found.pred == found.label
    return kept
