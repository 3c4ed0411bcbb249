from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from resbench.stats.contrasts import Estimate, contrast
from resbench.stats.equivalence import equivalence_p

A = [5.31, 5.62, 5.48, 5.55, 5.20]
B = [5.40, 5.51, 5.59, 5.61, 5.32, 5.30]


def mean_of(differences: Sequence[float]) -> Estimate:
    """Paired differences as a contrast of one arm."""
    return contrast([differences], (1,), paired=True)


def test_paired_tost_equals_statsmodels() -> None:
    a, b = np.array(A), np.array(B[:5])
    expected = ttost_paired(b, a, -0.2, 0.2)[0]
    assert equivalence_p(mean_of(b - a), 0.2) == pytest.approx(expected)


def test_welch_tost_equals_statsmodels() -> None:
    expected = ttost_ind(B, A, -0.2, 0.2, usevar="unequal")[0]
    assert equivalence_p(contrast([A, B], (-1, 1), paired=False), 0.2) == pytest.approx(expected)


@given(
    st.lists(st.floats(-2, 2).map(lambda x: round(x, 2)), min_size=2, max_size=6),
    st.floats(0.05, 2),
)
def test_equivalent_exactly_when_the_90_percent_interval_lies_inside_the_margin(
    values: Sequence[float], margin: float
) -> None:
    estimate = mean_of(values)
    p, interval = equivalence_p(estimate, margin), estimate.interval(0.9)
    inside = -margin < interval.low and interval.high < margin
    assert (p <= 0.05) == inside
    mirrored = equivalence_p(mean_of([-v for v in values]), margin)
    assert p == pytest.approx(mirrored, nan_ok=True)


@pytest.mark.parametrize("values", [[], [0.1], [0.1, 0.1, 0.1], [0.1, math.nan]])
def test_too_little_data_is_neither_equivalent_nor_different(values: Sequence[float]) -> None:
    estimate = mean_of(values)
    assert math.isnan(equivalence_p(estimate, 0.5))
    assert estimate.reason


@pytest.mark.parametrize("margin", [0, -1, math.nan])
def test_a_margin_that_is_not_positive_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        equivalence_p(mean_of([0.1, 0.2]), margin)
