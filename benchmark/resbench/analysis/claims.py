"""The sentences of a source, judged within one table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from resbench.analysis.arms import Kept, arm_of, images_kept
from resbench.analysis.contrast import contrast_of
from resbench.analysis.declared import as_declared, as_printed
from resbench.analysis.measured import PLANNING_SD_PP
from resbench.analysis.power import published_steps
from resbench.analysis.tables import TableRuns, declared_only, later_seeds
from resbench.stats.claims import ClaimKind, ClaimVerdict, finalise
from resbench.stats.evidence import Evidence, gather
from resbench.store.layout import RunFolder
from resbench.suite.claims import ParsedClaim
from resbench.suite.expand import parsed_claims
from resbench.suite.schema import Claim


@dataclass(frozen=True)
class JudgedClaim:
    """A claim of a source and what the runs of one table say about it.

    Differences are percentage points, positive as claimed; p-values are one-sided over seeds.
    """

    claim: Claim
    verdict: ClaimKind
    text: str
    """The numbers behind the verdict, in words."""
    at_published_setting: bool
    """Whether the runs are of the source's own setting, so that the verdict is one on its claim."""
    n: int
    """Seeds of the smallest arm."""
    published_pp: float | None
    effect_pp: float | None
    interval: tuple[float, float] | None
    """At level 1 - 2 alpha."""
    p: float | None
    p_holm: float | None
    """Adjusted for the other claims of the table."""
    p_images: float | None
    """For other test images too; decides nothing."""
    step: str | None
    """Of a chain, the weakest step, which the numbers are about."""
    seeds_needed: int | None
    on_declared_seeds: ClaimKind
    """The verdict without seeds that neither suite nor tier declares."""

    @property
    def has_runs(self) -> bool:
        """Whether every cell that it compares has a run."""
        return self.verdict != "not_run"

    @property
    def level(self) -> float:
        """The level of the interval."""
        return 1 - 2 * self.claim.alpha


def judge_claims(table: TableRuns) -> tuple[JudgedClaim, ...]:
    """Judge the suite's claims on the runs of this table alone."""
    claims, verdicts = table.expanded.loaded.suite.claims, _verdicts(table)
    earlier = _verdicts(declared_only(table)) if later_seeds(table) else verdicts
    published = as_printed(table.expanded.context)
    found = zip(claims, verdicts, earlier, strict=True)
    return tuple(_judged(claim, now, then.kind, published) for claim, now, then in found)


def _judged(
    claim: Claim, found: ClaimVerdict, on_declared: ClaimKind, published: bool
) -> JudgedClaim:
    interval, effect = found.interval, found.effect_pp
    known = found.kind != "not_run" and math.isfinite(interval.half_width)
    return JudgedClaim(
        claim=claim,
        verdict=found.kind,
        text=found.text,
        at_published_setting=published,
        n=found.n,
        published_pp=found.evidence.printed_difference,
        effect_pp=effect if math.isfinite(effect) else None,
        interval=(interval.low, interval.high) if known else None,
        p=found.raw_p,
        p_holm=found.adjusted_p,
        p_images=found.evidence.images_p,
        step=found.evidence.where or None,
        seeds_needed=found.seeds_needed,
        on_declared_seeds=on_declared,
    )


def _verdicts(table: TableRuns) -> tuple[ClaimVerdict, ...]:
    """Judge all claims of a table together: Holm's correction is for their number."""
    claims, parsed = table.expanded.loaded.suite.claims, parsed_claims(table.expanded)
    runs = (run for p in parsed for name in p.cells for run in table.cells[name].done)
    kept = images_kept(RunFolder(table.results, key) for key in dict.fromkeys(r.key for r in runs))
    return finalise([_evidence(table, c, p, kept) for c, p in zip(claims, parsed, strict=True)])


def _evidence(table: TableRuns, claim: Claim, parsed: ParsedClaim, kept: Kept) -> Evidence:
    operator, cells = contrast_of(parsed)
    arms = {name: arm_of(name, table.cells[name].done, claim.metric, kept) for name in parsed.cells}
    return gather(
        operator,
        [tuple(arms[name] for name in term) for term in cells],
        alpha=claim.alpha,
        margin=claim.margin_pp,
        printed_difference=published_steps(table.expanded, claim, parsed),
        comparable=as_printed(table.expanded.context),
        planning_sd=PLANNING_SD_PP if as_declared(table.expanded.context) else None,
        claims=len(table.expanded.loaded.suite.claims),
    )
