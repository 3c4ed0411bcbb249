from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind

from resbench.stats.contrasts import (
    Estimate,
    estimate,
    other_images_p,
    put_to_test,
    steps_of,
    trend_weights,
)
from resbench.stats.textbook import rank_p
from resbench.suite.claims import ParsedClaim
from tests.stats.arms import SMALL, arm

A = (5.31, 5.62, 5.48, 5.55, 5.20)
B = (5.40, 5.51, 5.59, 5.61, 5.32, 5.30)


def apart() -> Estimate:
    return estimate([arm("a", *A), arm("b", *B)], (-1, 1), (SMALL, SMALL))


@pytest.mark.parametrize(
    ("operator", "terms", "steps"),
    [
        ("<", "ab", ["ab"]),
        (">", "ab", ["ba"]),
        ("monotone_increasing", "abc", ["ab", "bc"]),
        ("monotone_decreasing", "abc", ["ba", "cb"]),
    ],
)
def test_every_step_has_its_better_arm_first(operator: Any, terms: str, steps: list[str]) -> None:
    found = steps_of(ParsedClaim(operator, tuple((term,) for term in terms)))
    assert ["".join(step.arms) for step in found] == steps
    assert {step.weights for step in found} == {(-1, 1)}


def test_a_growing_gap_is_the_rise_of_its_fitted_line() -> None:
    gaps = [0.4, 1.1, 2.9]
    (step,) = steps_of(ParsedClaim("gap_grows", (("a", "b"), ("c", "d"), ("e", "f"))))
    errors = {"a": 5.0, "b": 5.4, "c": 5.0, "d": 6.1, "e": 5.0, "f": 7.9}
    rise = sum(w * errors[a] for w, a in zip(step.weights, step.arms, strict=True))
    assert rise == pytest.approx(2 * np.polyfit(range(3), gaps, 1)[0])
    assert trend_weights(2) == (-1, 1)


def test_an_arm_that_is_in_two_gaps_is_one_arm() -> None:
    (step,) = steps_of(ParsedClaim("gap_grows", (("b", "a"), ("c", "b"))))
    assert dict(zip(step.arms, step.weights, strict=True)) == {"a": -1, "b": 2, "c": -1}
    (step,) = steps_of(ParsedClaim("gap_grows", (("b", "a"), ("a", "b"))))
    assert (step.arms, step.weights) == (("a", "b"), (-2, 2))


def test_without_a_prior_it_is_welchs_test() -> None:
    expected = stats.ttest_ind(B, A, equal_var=False, alternative="greater")
    found = apart()
    assert found.p_above() == pytest.approx(expected.pvalue, abs=1e-6)
    assert found.df == pytest.approx(expected.df, abs=1e-6)
    both = stats.ttest_ind(B, A, equal_var=False)
    assert found.interval() == pytest.approx(tuple(both.confidence_interval(0.95)), abs=1e-6)
    assert found.p_beyond() == pytest.approx(both.pvalue, abs=1e-6)


def test_equivalence_without_a_prior_is_statsmodels() -> None:
    expected = ttost_ind(B, A, -0.2, 0.2, usevar="unequal")[0]
    assert apart().p_within(0.2) == pytest.approx(expected, abs=1e-6)


def test_identical_runs_spread_as_chance_does() -> None:
    same = [arm("a", 5.0, 5.0, 5.0), arm("b", 5.5, 5.5, 5.5)]
    found = estimate(same, (-1, 1), (0.04, 0.04))
    assert (found.se, found.df) == pytest.approx((math.sqrt(2 * 0.02 / 3), 8))


def test_a_contrast_of_four_arms_adds_their_variances() -> None:
    arms = [arm(name, 4.0, 5.0, 6.0) for name in "abcd"]
    found = estimate(arms, (1, -1, -1, 1), [1.0] * 4)
    assert (found.effect, found.sd, found.df) == pytest.approx((0.0, 2.0, 16.0))


runs = st.lists(st.floats(0, 100), min_size=2, max_size=8)


@given(runs, runs, st.floats(0.05, 2))
def test_p_values_mirror_and_fit_the_interval(
    a: list[float], b: list[float], margin: float
) -> None:
    one = estimate([arm("a", *a), arm("b", *b)], (-1, 1), (0.04, 0.04))
    two = estimate([arm("a", *a), arm("b", *b)], (1, -1), (0.04, 0.04))
    assert one.p_above() == pytest.approx(two.p_below())
    assert one.p_within(margin) == pytest.approx(two.p_within(margin))
    p, reach = one.p_within(margin), stats.t.ppf(0.95, one.df) * one.se
    assert p is not None
    if abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == (-margin < one.effect - reach and one.effect + reach < margin)


@pytest.mark.parametrize("errors", [(), (5.0,)])
def test_fewer_than_two_runs_leave_the_spread_unknown(errors: tuple[float, ...]) -> None:
    found = estimate([arm("a", *errors), arm("b", 5.0, 5.1)], (-1, 1), (1.0, 1.0))
    assert (found.p_above(), found.p_below(), found.p_within(1), found.p_beyond(1)) == (None,) * 4
    if errors:
        assert found.interval() == (-math.inf, math.inf)


def test_arms_of_the_contrast_itself_are_no_reference_for_it() -> None:
    arms = [arm("a", 5.0, 5.0, 5.1), arm("b", 5.4, 5.5, 5.5)]
    wide = arm("c", 1.0, 5.0, 9.0)
    alone, among = put_to_test(arms, (-1, 1), arms), put_to_test(arms, (-1, 1), [*arms, wide])
    assert alone.estimate.se < among.estimate.se


def test_a_lucky_seed_of_the_other_arm_does_not_make_an_arm_better() -> None:
    better = arm("a", 5.0, 5.1, 5.2, 5.0, 5.1)
    worse = arm("b", 5.4, 5.5, 5.3, 5.4, 2.4)  # works once, and is better on average
    found = put_to_test([better, worse], (-1, 1), [])
    assert found.uneven == ("b",)
    assert rank_p(better.errors, worse.errors) < 0.2
    assert found.p == found.estimate.p_above()
    assert (found.p or 0) > 0.5
    assert put_to_test([worse, better], (-1, 1), []).opposite_p == pytest.approx(found.p)


def test_an_arm_in_two_gaps_may_hide_its_failures_twice() -> None:
    arms = [arm("56/arl", *A), arm("56/nal", *B)]
    failed = arm("92/arl", 5.0, 5.1, 8.05)
    once, twice = (put_to_test(arms, (-w, w), [failed]).hidden for w in (1, 2))
    assert twice == 2 * once > 0


def test_a_worse_arm_with_a_failing_seed_is_tested_by_ranks_alone() -> None:
    better, worse = arm("a", 5.0, 5.1, 5.2, 5.1, 5.0), arm("b", 5.5, 5.4, 5.6, 5.5, 9.0)
    found = put_to_test([better, worse], (-1, 1), ())
    assert found.uneven == ("b",)
    assert found.p == rank_p(better.errors, worse.errors) == pytest.approx(1 / 252)
    assert (found.opposite_p or 0) > 0.9


def test_an_arm_with_a_failing_seed_must_be_better_on_average_too() -> None:
    fails, steady = arm("a", 5.0, 5.1, 5.2, 5.1, 9.0), arm("b", 5.5, 5.4, 5.6, 5.5, 5.45)
    found = put_to_test([fails, steady], (-1, 1), ())
    assert rank_p(fails.errors, steady.errors) < 0.2
    assert found.p == pytest.approx(found.estimate.p_above())
    assert (found.p or 0) > 0.5


def test_means_never_show_more_of_an_uneven_arm_than_ranks_do() -> None:
    lucky, far = arm("a", 5.0, 5.1, 5.2, 5.1, 4.0), arm("b", 20.0, 20.1, 20.2, 20.1, 20.0)
    found, mirrored = (put_to_test(arms, (-1, 1), ()) for arms in ([lucky, far], [far, lucky]))
    assert found.uneven == ("a",)
    assert (found.estimate.p_above() or 1) < 1e-4
    assert found.p == mirrored.opposite_p == pytest.approx(1 / 252)


def test_a_trend_over_an_uneven_arm_is_not_tested() -> None:
    arms = [arm(name, 5.0, 5.1, 5.2) for name in "abc"] + [arm("d", 5.0, 5.1, 90.0, diverged=[3])]
    found = put_to_test(arms, (1, -1, -1, 1), ())
    assert (found.p, found.opposite_p, found.uneven) == (None, None, ("d",))


def test_images_on_which_all_runs_agree_add_their_variance_to_that_of_the_seeds() -> None:
    better, worse = np.ones((2, 3, 1000), bool)
    worse[:, :50] = False  # 5 % of the images, wrong in every run of one arm
    found = other_images_p(Estimate(5.0, 1.0, 0.5, 4.0, 3), better, worse)
    total = 0.5**2 + 1e4 * 0.05 * 0.95 / 1000
    expected = stats.t.sf(5.0 / math.sqrt(total), 4 * (total / 0.25) ** 2)
    assert found == pytest.approx(expected)


def test_images_that_flip_by_chance_alone_add_nothing_to_either_side() -> None:
    a, b = np.random.default_rng(0).random((2, 3, 40_000)) >= 0.2
    found = other_images_p(Estimate(0.5, 1.0, 0.5, 4.0, 3), a, b)
    assert found == pytest.approx(stats.t.sf(1.0, 4), abs=0.002)
    mirrored = other_images_p(Estimate(-0.5, 1.0, 0.5, 4.0, 3), b, a)
    assert mirrored == pytest.approx(1 - found)
    halves = np.eye(2, dtype=bool).repeat(100, axis=1)  # one run of two errs on every image
    found = other_images_p(Estimate(0.5, 1.0, 0.5, 4.0, 2), halves, halves)
    assert found == pytest.approx(stats.t.sf(1.0, 4)), "nor take anything from that of the seeds"
