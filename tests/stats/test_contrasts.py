from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind

from resbench.stats import student
from resbench.stats.contrasts import Estimate, estimate, put_to_test
from resbench.stats.ranks import rank_p
from tests.stats.arms import SMALL, arm

A = (5.31, 5.62, 5.48, 5.55, 5.20)
B = (5.40, 5.51, 5.59, 5.61, 5.32, 5.30)


def apart() -> Estimate:
    return estimate([arm("a", *A), arm("b", *B)], (-1, 1), (SMALL, SMALL))


def test_without_a_prior_it_is_welchs_test() -> None:
    expected = stats.ttest_ind(B, A, equal_var=False, alternative="greater")
    found = apart()
    assert found.p_above() == pytest.approx(expected.pvalue, abs=1e-6)
    assert found.df == pytest.approx(expected.df, abs=1e-6)
    low, high = stats.ttest_ind(B, A, equal_var=False).confidence_interval(0.95)
    assert found.interval() == pytest.approx((low, high), abs=1e-6)


def test_equivalence_without_a_prior_is_statsmodels() -> None:
    expected = ttost_ind(B, A, -0.2, 0.2, usevar="unequal")[0]
    assert apart().p_within(0.2) == pytest.approx(expected, abs=1e-6)


def test_identical_runs_spread_as_chance_does() -> None:
    same = [arm("a", 5.0, 5.0, 5.0), arm("b", 5.5, 5.5, 5.5)]
    found = estimate(same, (-1, 1), (0.04, 0.04))
    assert found.se == pytest.approx(math.sqrt(2 * 0.02 / 3))
    assert found.df == pytest.approx(8)


def test_a_contrast_of_four_arms_adds_their_variances() -> None:
    arms = [arm(name, 4.0, 5.0, 6.0) for name in "abcd"]
    found = estimate(arms, (1, -1, -1, 1), [1.0] * 4)
    assert (found.effect, found.sd, found.df) == pytest.approx((0.0, 2.0, 16.0))


@given(
    st.lists(st.floats(0, 100), min_size=2, max_size=8),
    st.lists(st.floats(0, 100), min_size=2, max_size=8),
    st.floats(0.05, 2),
)
def test_p_values_mirror_and_fit_the_interval(
    a: list[float], b: list[float], margin: float
) -> None:
    one = estimate([arm("a", *a), arm("b", *b)], (-1, 1), (0.04, 0.04))
    two = estimate([arm("a", *a), arm("b", *b)], (1, -1), (0.04, 0.04))
    assert one.p_above() == pytest.approx(two.p_below())
    assert one.p_within(margin) == pytest.approx(two.p_within(margin))
    p, reach = one.p_within(margin), student.quantile(0.95, one.df) * one.se
    assert p is not None
    if abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == (-margin < one.effect - reach and one.effect + reach < margin)


@pytest.mark.parametrize("errors", [(), (5.0,)])
def test_fewer_than_two_runs_leave_the_spread_unknown(errors: tuple[float, ...]) -> None:
    found = estimate([arm("a", *errors), arm("b", 5.0, 5.1)], (-1, 1), (1.0, 1.0))
    assert (found.p_above(), found.p_below(), found.p_within(1), found.p_beyond(1)) == (None,) * 4
    assert found.interval() == (-math.inf, math.inf)


def test_arms_of_the_contrast_itself_are_no_reference_for_it() -> None:
    arms = [arm("a", 5.0, 5.0, 5.1), arm("b", 5.4, 5.5, 5.5)]
    wide = arm("c", 1.0, 5.0, 9.0)
    alone, among = put_to_test(arms, (-1, 1), arms), put_to_test(arms, (-1, 1), [*arms, wide])
    assert alone.estimate.se < among.estimate.se


def test_a_worse_arm_with_a_failing_seed_is_tested_by_ranks_alone() -> None:
    better, worse = arm("a", 5.0, 5.1, 5.2, 5.1, 5.0), arm("b", 5.5, 5.4, 5.6, 5.5, 9.0)
    found = put_to_test([better, worse], (-1, 1), ())
    assert found.uneven == ("b",)
    assert found.p == rank_p(better.errors, worse.errors) == pytest.approx(1 / 252)
    assert found.opposite_p is not None
    assert found.opposite_p > 0.9


def test_an_arm_with_a_failing_seed_must_be_better_on_average_too() -> None:
    fails, steady = arm("a", 5.0, 5.1, 5.2, 5.1, 9.0), arm("b", 5.5, 5.4, 5.6, 5.5, 5.45)
    found = put_to_test([fails, steady], (-1, 1), ())
    assert rank_p(fails.errors, steady.errors) < 0.2
    assert found.p == pytest.approx(found.estimate.p_above())
    assert found.p is not None
    assert found.p > 0.5


def test_a_trend_over_an_uneven_arm_is_not_tested() -> None:
    arms = [arm(name, 5.0, 5.1, 5.2) for name in "abc"] + [arm("d", 5.0, 5.1, 90.0, diverged=[3])]
    found = put_to_test(arms, (1, -1, -1, 1), ())
    assert (found.p, found.opposite_p, found.uneven) == (None, None, ("d",))
