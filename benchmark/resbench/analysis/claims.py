"""The sentences of a source, judged within one table."""

from __future__ import annotations

from dataclasses import dataclass

from resbench.analysis.arms import Kept, arm_of, images_kept
from resbench.analysis.contrast import contrast_of
from resbench.analysis.declared import as_declared, as_printed
from resbench.analysis.measured import PLANNING_SD_PP
from resbench.analysis.power import printed_steps
from resbench.analysis.tables import FilledTable
from resbench.stats.claims import ClaimVerdict, finalise
from resbench.stats.evidence import Evidence, gather
from resbench.store.layout import RunFolder
from resbench.suite.claims import ParsedClaim
from resbench.suite.expand import parsed_claims
from resbench.suite.schema import Claim


@dataclass(frozen=True)
class JudgedClaim:
    """A claim of the suite and its verdict, Holm-adjusted over the table's claims."""

    claim: Claim
    verdict: ClaimVerdict


def judge_claims(table: FilledTable) -> tuple[JudgedClaim, ...]:
    """Judge the suite's claims on the runs of this table alone."""
    suite = table.expanded.loaded.suite
    parsed = parsed_claims(table.expanded)
    runs = (run for p in parsed for name in p.cells for run in table.cells[name].done)
    kept = images_kept(RunFolder(table.results, key) for key in dict.fromkeys(r.key for r in runs))
    found = [_evidence(table, c, p, kept) for c, p in zip(suite.claims, parsed, strict=True)]
    pairs = zip(suite.claims, finalise(found), strict=True)
    return tuple(JudgedClaim(claim, verdict) for claim, verdict in pairs)


def _evidence(table: FilledTable, claim: Claim, parsed: ParsedClaim, kept: Kept) -> Evidence:
    operator, cells = contrast_of(parsed)
    arms = {name: arm_of(name, table.cells[name].done, claim.metric, kept) for name in parsed.cells}
    return gather(
        operator,
        [tuple(arms[name] for name in term) for term in cells],
        alpha=claim.alpha,
        margin=claim.margin_pp,
        printed_difference=printed_steps(table.expanded, claim, parsed),
        comparable=as_printed(table.expanded.context),
        planning_sd=PLANNING_SD_PP if as_declared(table.expanded.context) else None,
        claims=len(table.expanded.loaded.suite.claims),
    )
