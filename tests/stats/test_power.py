from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq

from resbench.stats.multiplicity import LOOKS
from resbench.stats.power import detectable, first_look, per_test_power
from tests.stats.arms import arm, judged

APART = math.sqrt(2)
"""The sd of a difference of two arms, in sds of one."""


@pytest.mark.parametrize(("n", "family"), [(3, 1), (3, 7), (5, 1), (5, 7), (8, 1), (8, 7)])
def test_the_detectable_difference_is_found_with_the_power_asked_for(n: int, family: int) -> None:
    rng, studies = np.random.default_rng(1), 400
    least, found = detectable(n, 0.2 * APART, 2, alpha=0.05 / family), 0
    for _ in range(studies):
        a, b = rng.normal(5, 0.2, n), rng.normal(5 + least, 0.2, n)
        verdict = judged("<", [arm("a", *a), arm("b", *b)], family=family)
        found += verdict.verdict == "confirmed"
    assert found / studies == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / studies))


@pytest.mark.parametrize("arms", [1, 2, 4, 8])
@pytest.mark.parametrize("n", LOOKS)
def test_what_is_detected_lies_between_a_known_spread_and_a_plain_t_test(n: int, arms: int) -> None:
    level, se = 0.05 / len(LOOKS), 0.2 / math.sqrt(n)
    known = se * (stats.norm.isf(level) + stats.norm.isf(0.2))
    df = n - 1  # as if one arm's spread stood for all
    plain = brentq(lambda x: stats.nct.sf(stats.t.isf(level, df), df, x / se) - 0.8, 0, 20 * se)
    assert known < detectable(n, 0.2, arms) < plain


def test_between_looks_nothing_is_gained() -> None:
    assert detectable(4, 0.2, 2) == detectable(3, 0.2, 2) > detectable(5, 0.2, 2)
    assert detectable(100, 0.2, 2) == detectable(8, 0.2, 2)
    assert detectable(2, 0.2, 2) == math.inf


@given(st.sampled_from(LOOKS), st.floats(0.05, 2), st.integers(1, 4))
@settings(max_examples=30)
def test_the_detectable_difference_and_the_first_look_agree(n: int, sd: float, arms: int) -> None:
    least = detectable(n, sd, arms)
    assert first_look(least * 1.0001, sd, arms, alpha=0.05) == n
    later = first_look(least * 0.9999, sd, arms, alpha=0.05)
    assert later is None or later > n


def test_all_tests_of_a_claim_reject_together_with_the_power() -> None:
    assert per_test_power(1) == pytest.approx(0.8)
    assert per_test_power(4) == pytest.approx(0.95)


@pytest.mark.parametrize("sd", [1e-6, 0.2, 1e3])
def test_power_rises_with_the_difference_and_the_runs_at_every_scale(sd: float) -> None:
    least = [[detectable(n, sd, 2, power=p) / sd for p in (0.5, 0.8, 0.99)] for n in LOOKS]
    assert least == pytest.approx(
        np.asarray([[detectable(n, 1.0, 2, power=p) for p in (0.5, 0.8, 0.99)] for n in LOOKS])
    )
    assert all(row == sorted(row) for row in least)
    assert all(list(column) == sorted(column, reverse=True) for column in zip(*least, strict=True))


def test_what_cannot_be_detected_or_known_is_infinite_or_none() -> None:
    for sd in (0.0, math.nan, math.inf, -1.0):
        assert detectable(3, sd, 1) == math.inf
        assert first_look(0.5, sd, 1, alpha=0.05) is None
    for delta in (0.0, -0.5, math.nan, math.inf, 1e-4):
        assert first_look(delta, 0.5, 1, alpha=0.05) is None
