"""Equivalence within a declared margin: two one-sided tests (Schuirmann 1987)."""

from __future__ import annotations

import math

from resbench.stats.contrasts import Estimate


def equivalence_p(estimate: Estimate, margin: float) -> float:
    """Return the p-value for |contrast| < margin; NaN if unknown.

    Raises ValueError when the margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin {margin} is not positive")
    return max(estimate.p_above(-margin), estimate.p_below(margin))


def beyond_p(estimate: Estimate, margin: float) -> float:
    """Return the p-value for |contrast| > margin, doubled for two directions; NaN if unknown."""
    p = 2 * min(estimate.p_above(margin), estimate.p_below(-margin))
    return p if math.isnan(p) else min(1.0, p)
