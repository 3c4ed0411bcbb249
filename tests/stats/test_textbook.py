from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from resbench.stats.multiplicity import holm
from resbench.stats.textbook import mcnemar, rank_p, summarise, superiority

few = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=5)
pvalues = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=8))
def test_a_summary_is_numpys(errors: list[float]) -> None:
    expected = (np.mean(errors), np.std(errors, ddof=1))
    assert summarise(errors) == pytest.approx(expected, abs=1e-9)


def test_a_summary_of_too_few_is_unknown() -> None:
    assert math.isnan(summarise([]).mean)
    assert math.isnan(summarise([5.0]).sd)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=8, unique=True), st.integers(1, 7))
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


def test_superiority_counts_pairs_and_halves_ties() -> None:
    assert superiority([1, 2], [2, 3]) == (1 + 1 + 0.5 + 1) / 4
    assert math.isnan(superiority([], [1]))


def apart(b: int, c: int) -> float:
    """McNemar's p where b images are right only in A and c only in B."""
    right_a = np.array([True] * b + [False] * c + [True] * 12)
    right_b = np.array([False] * b + [True] * c + [True] * 12)
    return mcnemar(right_a, right_b)


def test_mcnemar_gives_the_published_values_of_fagerland() -> None:
    # Fagerland et al. 2013, Table 1: airway hyper-responsiveness, 1 and 7 discordant of 21
    assert apart(1, 7) == pytest.approx(0.0391, abs=5e-5)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_mid_p_and_symmetric(b: int, c: int) -> None:
    fewer, both = min(b, c), b + c
    below = stats.binom.cdf(fewer, both, 0.5) - stats.binom.pmf(fewer, both, 0.5) / 2
    assert apart(b, c) == apart(c, b) == pytest.approx(2 * below)


@given(pvalues)
@settings(max_examples=10)  # the reference takes 0.1 s a call
def test_holm_equals_statsmodels(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(tuple(multipletests(ps, method="holm")[1]))


@given(pvalues, st.floats(0, 1), st.floats(0, 1))
def test_holm_is_monotone_in_each_p_value_and_never_below_it(
    ps: list[float], one: float, two: float
) -> None:
    low, high = sorted((one, two))
    smaller, larger = (np.array(holm([*ps, p]), dtype=float) for p in (low, high))
    assert (smaller <= larger).all()
    assert ([*ps, low] <= smaller).all()
