from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from resbench.stats.multiplicity import LOOKS
from resbench.stats.power import detectable, detection_power, first_look, per_test_power
from tests.stats.arms import arm, judged

APART = math.sqrt(2)
"""The sd of a difference of two arms, in sds of one."""


@pytest.mark.parametrize("n", LOOKS)
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 40])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.99])
def test_the_detectable_difference_is_found_with_the_power_asked_for(
    n: int, power: float, alpha: float
) -> None:
    least = detectable(n, 0.2 * APART, 2, alpha=alpha, power=power)
    df, level = 2 * (n - 1), alpha / len(LOOKS)
    found = stats.nct.sf(stats.t.isf(level, df), df, least / (0.2 * APART) * math.sqrt(n))
    assert found == pytest.approx(power, abs=1e-9)


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


def test_the_power_of_simulated_studies_is_the_computed_one() -> None:
    rng = np.random.default_rng(0)
    least, found = detectable(3, 0.2 * APART, 2), 0
    for _ in range(1500):
        a, b = rng.normal(5, 0.2, 3), rng.normal(5 + least, 0.2, 3)
        found += judged("<", [arm("a", *a), arm("b", *b)]).kind == "confirmed"
    assert found / 1500 == pytest.approx(0.76, abs=0.05)  # as the module says


def test_all_tests_of_a_claim_reject_together_with_the_power() -> None:
    assert per_test_power(1) == pytest.approx(0.8)
    assert per_test_power(4) == pytest.approx(0.95)


@pytest.mark.parametrize("df", [1, 2, 4, 30, 1998])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_power_is_finite_and_rises_with_the_difference_at_every_scale(
    df: int, alpha: float
) -> None:
    power = [detection_power(x, df, alpha) for x in np.geomspace(0.01, 1e5, 60)]
    assert all(0 <= p <= 1 for p in power)
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(power))


def test_what_cannot_be_detected_or_known_is_infinite_or_none() -> None:
    for sd in (0.0, math.nan, math.inf, -1.0):
        assert detectable(3, sd, 1) == math.inf
        assert first_look(0.5, sd, 1, alpha=0.05) is None
    for delta in (0.0, -0.5, math.nan, math.inf, 1e-4):
        assert first_look(delta, 0.5, 1, alpha=0.05) is None
