from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from resbench.stats.ranks import rank_p, superiority

few = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=5)


@given(
    st.lists(st.floats(0, 100), min_size=2, max_size=8, unique=True),
    st.integers(1, 7),
)
@settings(max_examples=30)
def test_without_ties_it_is_scipys_exact_test(values: list[float], cut: int) -> None:
    a, b = values[: min(cut, len(values) - 1)], values[min(cut, len(values) - 1) :]
    expected = stats.mannwhitneyu(a, b, alternative="less", method="exact").pvalue
    assert rank_p(a, b) == pytest.approx(expected)


@given(few, few)
def test_with_ties_it_is_the_share_of_all_deals(a: list[float], b: list[float]) -> None:
    pooled = [*a, *b]
    ranks = stats.rankdata(pooled)
    sums = [sum(ranks[list(c)]) for c in itertools.combinations(range(len(pooled)), len(a))]
    seen = sum(ranks[: len(a)])
    assert rank_p(a, b) == pytest.approx(sum(s <= seen + 1e-9 for s in sums) / len(sums))


def test_the_smallest_p_is_known() -> None:
    assert rank_p([1, 2, 3], [4, 5, 6]) == 1 / 20
    assert rank_p([1] * 8, [2] * 8) == 1 / math.comb(16, 8)


def test_superiority_counts_pairs_and_halves_ties() -> None:
    assert superiority([1, 2], [2, 3]) == (1 + 1 + 0.5 + 1) / 4
    assert superiority([1], [2]) == 1
    assert math.isnan(superiority([], [1]))
