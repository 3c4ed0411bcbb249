"""Equivalence within a declared margin: two one-sided tests (Schuirmann 1987)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from resbench.stats.contrasts import Estimate, contrast
from resbench.stats.intervals import Interval


@dataclass(frozen=True)
class Tost:
    """Result of the two one-sided tests, in percentage points."""

    effect: float
    p: float
    """The larger of the two one-sided p-values; NaN when the spread is unknown."""
    interval: Interval
    """At level 1 - 2 alpha: inside the margin exactly when p < alpha."""
    equivalent: bool | None
    """None when the data cannot say."""


def tost(
    first: Sequence[float],
    second: Sequence[float] | None = None,
    *,
    margin: float,
    alpha: float = 0.05,
) -> Tost:
    """Test that a mean lies within +-margin.

    With one sample: paired differences. With two: independent arms (Welch), second - first.
    """
    if second is None:
        estimate = contrast([first], (1,), paired=True)
    else:
        estimate = contrast([first, second], (-1, 1), paired=False)
    p = equivalence_p(estimate, margin)
    equivalent = None if math.isnan(p) else p <= alpha
    return Tost(estimate.effect, p, estimate.interval(1 - 2 * alpha), equivalent)


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
