"""Numbers and verdicts as people read them; every word for a verdict is here."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resbench.analysis.claims import JudgedClaim
    from resbench.analysis.values import JudgedValue, ValueKind
    from resbench.stats.claims import ClaimKind


@dataclass(frozen=True)
class VerdictWords:
    """How a verdict reads; another setting than the source's must not read like a replication."""

    published: str
    """At the source's own setting."""
    elsewhere: str
    """In any other setting."""


CLAIMS: dict[ClaimKind, VerdictWords] = {
    "confirmed": VerdictWords("confirmed", "holds here"),
    "direction_only": VerdictWords("leans for", "leans for"),
    "not_confirmed": VerdictWords("smaller than published", "not seen here"),
    "contradicted": VerdictWords("contradicted", "reversed here"),
    "inconclusive": VerdictWords("undecided", "undecided"),
    "not_run": VerdictWords("not run", "not run"),
}
VALUES: dict[ValueKind, tuple[str, str]] = {
    "replicated": ("✓", "replicated: the published number could be one more run"),
    "better": ("↓", "better: the measured error is lower, by more than runs differ"),
    "worse": ("↑", "worse: the measured error is higher, by more than runs differ"),
    "inconclusive": ("?", "inconclusive: too few runs, or runs that differ too much"),
    "equal": ("=", "equal to the published value, after rounding"),
    "differs": ("≠", "differs from the published value"),
    "not_comparable": ("○", "not comparable with the published value"),
}
"""The sign of each verdict on a value, and what it means."""


def verdict_of(claim: JudgedClaim, verdict: ClaimKind | None = None) -> str:
    """Return the words for a claim's verdict, or for another verdict on it."""
    words = CLAIMS[verdict or claim.verdict]
    return words.published if claim.at_published_setting else words.elsewhere


def claim_sentence(claim: JudgedClaim) -> str:
    """Return a claim's verdict and its numbers in one sentence."""
    _, _, numbers = claim.text.partition(": ")
    return f"{sentence(verdict_of(claim))}: {numbers}"


def mark(value: JudgedValue) -> str:
    """Return the sign of a value's verdict."""
    return VALUES[value.verdict][0] if value.verdict in VALUES else ""


def percent(value: float | None, digits: int = 2) -> str:
    """Return a number with a fixed number of decimals; nothing for None."""
    return "" if value is None else f"{value:.{digits}f}"


def mean_sd(mean: float, sd: float | None, n: int, planned: int) -> str:
    """Return ``5.61 ± 0.12 (3)``; ``(2/3)`` where runs are missing, no sd from one run."""
    spread = "" if sd is None or math.isnan(sd) else f" ± {sd:.2f}"
    count = str(n) if n == planned else f"{n}/{planned}"
    return f"{mean:.2f}{spread} ({count})"


def signed(value: float | None) -> str:
    """Return a difference with its sign; nothing where it is unknown."""
    return "" if value is None or math.isnan(value) else f"{value:+.2f}"


def bounds(interval: tuple[float, float] | None) -> str:
    """Return an interval of a difference as ``-0.10 to +0.52``."""
    if interval is None or not all(map(math.isfinite, interval)):
        return "unknown"
    return f"{interval[0]:+.2f} to {interval[1]:+.2f}"


def p_value(value: float | None) -> str:
    """Return a p-value with two significant digits."""
    if value is None:
        return ""
    return f"{value:.2g}" if value >= 1e-4 else "<0.0001"


def levels(claims: Sequence[JudgedClaim]) -> str:
    """Return the levels of the claims' intervals: ``90%``."""
    return ", ".join(sorted({f"{claim.level:.0%}" for claim in claims}))


def sentence(text: str) -> str:
    """Return text with a capital first letter."""
    return text[:1].upper() + text[1:]


def plain_value(value: Any) -> str:
    """Return a setting's value: text as it is, nothing as ``unset``."""
    if value is None:
        return "unset"
    return value if isinstance(value, str) else json.dumps(value)
