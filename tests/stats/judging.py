"""One claim judged on its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resbench.stats.claims import ClaimVerdict, judge
from resbench.stats.contrasts import ArmResult
from resbench.stats.evidence import gather
from resbench.stats.steps import Operator


def judged(
    operator: Operator, terms: Sequence[ArmResult | tuple[ArmResult, ...]], **options: Any
) -> ClaimVerdict:
    """Return the verdict on a claim without correction; a term is an arm, or the pair of a gap."""
    pairs = [term if isinstance(term, tuple) else (term,) for term in terms]
    return judge(gather(operator, pairs, **options))
