from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq

from resbench.stats.contrasts import trend_weights
from resbench.stats.multiplicity import LOOKS
from resbench.stats.power import detectable, first_look, per_test_power
from tests.stats.arms import arm, judged

TWO = (-1.0, 1.0)
APART = math.sqrt(2)
"""The sd of a difference of two arms, in sds of one."""


@pytest.mark.parametrize(("n", "family"), [(3, 1), (3, 7), (5, 1), (5, 7), (8, 1), (8, 7)])
def test_the_detectable_difference_is_found_with_the_power_asked_for(n: int, family: int) -> None:
    rng, studies = np.random.default_rng(1), 400
    least, found = detectable(n, 0.2 * APART, TWO, alpha=0.05 / family), 0
    for _ in range(studies):
        a, b = rng.normal(5, 0.2, n), rng.normal(5 + least, 0.2, n)
        verdict = judged("<", [arm("a", *a), arm("b", *b)], family=family)
        found += verdict.verdict == "confirmed"
    assert found / studies == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / studies))


@pytest.mark.parametrize("gaps", [3, 4])
def test_the_detectable_rise_of_gaps_is_found_with_the_power_asked_for(gaps: int) -> None:
    """Arms of the middle gap, or gaps, weigh less than the outer ones, or nothing."""
    rng, studies = np.random.default_rng(1), 600
    rises = trend_weights(gaps)
    weights = [r * s for r in rises for s in (-1.0, 1.0)]
    least = detectable(3, 0.2 * math.hypot(*weights), weights, alpha=0.05 / 7)
    found = 0
    for _ in range(studies):
        terms = [
            (arm(f"a{i}", *rng.normal(5, 0.2, 3)),
             arm(f"b{i}", *rng.normal(5 + least * i / (gaps - 1), 0.2, 3)))
            for i in range(gaps)
        ]  # fmt: skip
        found += judged("gap_grows", terms, family=7).verdict == "confirmed"
    assert found / studies == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / studies))


@pytest.mark.parametrize("arms", [1, 2, 4, 8])
@pytest.mark.parametrize("n", LOOKS)
def test_what_is_detected_lies_between_a_known_spread_and_a_plain_t_test(n: int, arms: int) -> None:
    level, se = 0.05 / len(LOOKS), 0.2 / math.sqrt(n)
    known = se * (stats.norm.isf(level) + stats.norm.isf(0.2))
    df = n - 1  # as if one arm's spread stood for all
    plain = brentq(lambda x: stats.nct.sf(stats.t.isf(level, df), df, x / se) - 0.8, 0, 20 * se)
    assert known < detectable(n, 0.2, (1.0,) * arms) < plain


def test_between_looks_nothing_is_gained() -> None:
    assert detectable(4, 0.2, TWO) == detectable(3, 0.2, TWO) > detectable(5, 0.2, TWO)
    assert detectable(100, 0.2, TWO) == detectable(8, 0.2, TWO)
    assert detectable(2, 0.2, TWO) == math.inf


@given(st.sampled_from(LOOKS), st.floats(0.05, 2), st.integers(1, 4))
@settings(max_examples=30)
def test_the_detectable_difference_and_the_first_look_agree(n: int, sd: float, arms: int) -> None:
    weights = (1.0,) * arms
    least = detectable(n, sd, weights)
    assert first_look(least * 1.0001, sd, weights, alpha=0.05) == n
    later = first_look(least * 0.9999, sd, weights, alpha=0.05)
    assert later is None or later > n


def test_all_tests_of_a_claim_reject_together_with_the_power() -> None:
    assert per_test_power(1) == pytest.approx(0.8)
    assert per_test_power(4) == pytest.approx(0.95)


@pytest.mark.parametrize("sd", [1e-6, 0.2, 1e3])
def test_power_rises_with_the_difference_and_the_runs_at_every_scale(sd: float) -> None:
    least = [[detectable(n, sd, TWO, power=p) / sd for p in (0.5, 0.8, 0.99)] for n in LOOKS]
    assert least == pytest.approx(
        np.asarray([[detectable(n, 1.0, TWO, power=p) for p in (0.5, 0.8, 0.99)] for n in LOOKS])
    )
    assert all(row == sorted(row) for row in least)
    assert all(list(column) == sorted(column, reverse=True) for column in zip(*least, strict=True))


def test_what_cannot_be_detected_or_known_is_infinite_or_none() -> None:
    for sd in (0.0, math.nan, math.inf, -1.0):
        assert detectable(3, sd, (1.0,)) == math.inf
        assert first_look(0.5, sd, (1.0,), alpha=0.05) is None
    for delta in (0.0, -0.5, math.nan, math.inf, 1e-4):
        assert first_look(delta, 0.5, (1.0,), alpha=0.05) is None
