"""The verdict on a sentence of the source: an order, an equivalence or a trend over cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from resbench.stats.evidence import Evidence
from resbench.stats.intervals import Interval
from resbench.stats.multiplicity import holm
from resbench.stats.power import MIN_SEEDS

ClaimKind = Literal[
    "confirmed", "direction_only", "not_confirmed", "contradicted", "inconclusive", "not_run"
]


@dataclass(frozen=True)
class ClaimVerdict:
    """The verdict and its evidence; `adjusted_p` is there where `finalise` saw the whole suite."""

    kind: ClaimKind
    text: str
    evidence: Evidence
    adjusted_p: float | None = None

    @property
    def raw_p(self) -> float | None:
        """The unadjusted one-sided p-value."""
        return self.evidence.p

    @property
    def effect_pp(self) -> float:
        """Percentage points, positive in the claimed direction; NaN if not run."""
        return self.evidence.estimate.effect

    @property
    def interval(self) -> Interval:
        """Of the effect at level 1 - 2 alpha, so that it excludes 0 exactly when raw p < alpha."""
        return self.evidence.interval

    @property
    def n(self) -> int:
        """Seeds of the smallest arm."""
        return self.evidence.n

    @property
    def seeds_needed(self) -> int | None:
        """See Evidence.seeds_needed."""
        return self.evidence.seeds_needed


def finalise(claims: Sequence[Evidence]) -> tuple[ClaimVerdict, ...]:
    """Judge a suite's claims, corrected for their number (Holm); raw p-values stay.

    The family is the claims whose seeds can decide them. Confirmations and contradictions are two
    families: each kind of false alarm has a family-wise rate of at most alpha.
    """
    p = holm([e.p if e.n >= MIN_SEEDS else None for e in claims])
    against = holm([e.opposite_p if e.n >= MIN_SEEDS else None for e in claims])
    return tuple(map(judge, claims, p, against))


def judge(e: Evidence, adjusted: float | None = None, against: float | None = None) -> ClaimVerdict:
    """Judge one claim by its adjusted p-values, or by the raw ones where there are none."""
    p = e.p if adjusted is None else adjusted
    opposite = e.opposite_p if against is None else against
    kind = _kind(e, p, opposite)
    return ClaimVerdict(kind, _text(kind, e, adjusted), e, adjusted)


def _kind(e: Evidence, p: float | None, opposite: float | None) -> ClaimKind:
    if e.missing:
        return "not_run"
    suggestive = e.p is not None and e.p <= e.alpha
    if p is not None and opposite is not None and e.n >= MIN_SEEDS:
        if p <= e.alpha:
            return "confirmed"
        if opposite <= e.alpha:
            return "contradicted"
        if not suggestive and _rules_out_print(e):
            return "not_confirmed"
    if e.operator != "~" and (suggestive or e.agrees):
        return "direction_only"
    return "inconclusive"


def _rules_out_print(e: Evidence) -> bool:
    """Whether the interval excludes the printed size; for '~' the difference the source claims."""
    if not e.comparable:
        return False
    if e.operator == "~":
        return not e.interval.contains(e.printed_difference or 0.0)
    return e.printed_difference is not None and e.interval.high < e.printed_difference


_MEANING: dict[ClaimKind, str] = {
    "confirmed": "Confirmed",
    "direction_only": "Direction only, not established",
    "not_confirmed": "Not confirmed, the printed difference is ruled out",
    "contradicted": "Contradicted, the opposite is established",
    "inconclusive": "Inconclusive",
}


def _text(kind: ClaimKind, e: Evidence, adjusted: float | None) -> str:
    if e.missing:
        return f"Not run: no results for {', '.join(e.missing)}."
    effect, interval = e.estimate.effect, e.interval
    parts = []
    if e.margin is not None:
        parts.append(f"difference {effect:+.2f} pp, margin {e.margin:g} pp")
    elif math.isfinite(effect):
        parts.append(f"{abs(effect):.2f} pp {'as claimed' if effect > 0 else 'the other way'}")
    if e.where:
        parts.append(f"weakest step {e.where}")
    if math.isfinite(interval.half_width):
        parts.append(f"{interval.level:.0%} interval {interval.low:+.2f} to {interval.high:+.2f}")
        if e.printed_difference is not None and e.comparable:
            side = "inside" if interval.contains(e.printed_difference) else "outside"
            parts.append(f"printed {e.printed_difference:+g} {side}")
    design = "paired" if e.estimate.groups == 1 else "independent"
    n = e.estimate.n  # of the weakest step; the rule for few seeds looks at every arm
    parts.append(f"{n} {design} seed{'s' * (n != 1)} per arm")
    if e.p is not None:
        parts.append(f"p = {e.p:.2g}" + ("" if adjusted is None else f" (Holm {adjusted:.2g})"))
    if e.images_p is not None:
        parts.append(f"p = {e.images_p:.2g} for other test images")
    notes = [e.estimate.reason] if e.estimate.reason else []
    if e.n < MIN_SEEDS:
        notes.append(f"fewer than {MIN_SEEDS} seeds decide nothing")
    undecided = kind in ("direction_only", "inconclusive")
    if undecided and e.seeds_needed is not None and e.seeds_needed > e.n:
        notes.append(f"about {e.seeds_needed} seeds per arm would decide it")
    return f"{_MEANING[kind]}: {'; '.join([', '.join(parts), *notes])}."
