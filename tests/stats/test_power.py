from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from resbench.stats.power import detection_power, minimum_detectable_difference, seeds_for_contrast

APART = math.sqrt(2)
"""The sd of a difference of two independent arms, in sds of one."""


@pytest.mark.parametrize("n", [3, 5, 20])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_detectable_difference_of_independent_arms_equals_statsmodels(n: int, alpha: float) -> None:
    ours = minimum_detectable_difference(n, 0.2 * APART, 2, alpha=alpha)
    power = TTestIndPower().power(ours / 0.2, n, alpha, alternative="larger")
    assert power == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("n", [3, 5, 20])
def test_detectable_difference_of_paired_arms_equals_statsmodels(n: int) -> None:
    ours = minimum_detectable_difference(n, 0.28, 1, power=0.9)
    power = TTestPower().power(ours / 0.28, n, 0.05, alternative="larger")
    assert power == pytest.approx(0.9, abs=1e-6)


def test_seeds_give_cohens_published_sizes() -> None:
    # Cohen 1988, Table 2.4.1: d = 0.5, two-sided 0.05, power 0.8 takes 64 per group
    assert seeds_for_contrast(0.5, APART, 2, alpha=0.025) == 64
    assert seeds_for_contrast(0.8, APART, 2, alpha=0.025) == 26
    assert seeds_for_contrast(0.5, 1.0, 1, alpha=0.025) == 34


@given(st.floats(0.25, 3), st.booleans())
@settings(max_examples=40)
def test_seeds_are_the_smallest_number_with_the_power(delta: float, paired: bool) -> None:
    seeds = seeds_for_contrast(delta, 0.5 if paired else 0.5 * APART, 1 if paired else 2)
    kind = TTestPower if paired else TTestIndPower
    assert seeds is not None
    power = [kind().power(delta / 0.5, n, 0.05, alternative="larger") for n in (seeds, seeds - 1)]
    assert power[0] >= 0.8 - 1e-6
    assert seeds == 2 or power[1] < 0.8


@given(st.integers(2, 30), st.floats(0.05, 2), st.integers(1, 4))
@settings(max_examples=40)
def test_detectable_difference_and_seeds_agree(n: int, sd: float, groups: int) -> None:
    least = minimum_detectable_difference(n, sd, groups)
    assert seeds_for_contrast(least * 1.0001, sd, groups) == n


def test_power_of_a_simulated_comparison_is_the_computed_one() -> None:
    rng = np.random.default_rng(0)
    least = minimum_detectable_difference(3, 0.2 * APART, 2)
    a, b = rng.normal(0, 0.2, (20_000, 3)), rng.normal(least, 0.2, (20_000, 3))
    found = stats.ttest_ind(b, a, axis=1, alternative="greater").pvalue <= 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_more_arms_in_a_contrast_bring_degrees_of_freedom() -> None:
    four, one = seeds_for_contrast(1.0, 1.0, 4), seeds_for_contrast(1.0, 1.0, 1)
    assert four is not None
    assert one is not None
    assert four < one


@pytest.mark.parametrize("df", [1, 2, 4, 30, 1998])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_power_is_finite_and_rises_with_the_difference_at_every_scale(
    df: int, alpha: float
) -> None:
    power = [detection_power(x, df, alpha) for x in np.geomspace(0.01, 1e5, 60)]
    assert all(0 <= p <= 1 for p in power)
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(power))


def test_what_cannot_be_detected_or_known_is_infinite_or_none() -> None:
    assert minimum_detectable_difference(1, 0.2, 1) == math.inf
    assert minimum_detectable_difference(0, 0.2, 2) == math.inf
    for sd in (0.0, math.nan, math.inf, -1.0):
        assert minimum_detectable_difference(3, sd, 1) == math.inf
        assert seeds_for_contrast(0.5, sd, 1) is None
    for delta in (0.0, -0.5, math.nan, math.inf, 1e-4):
        assert seeds_for_contrast(delta, 0.5, 1) is None


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 40])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.99])
@pytest.mark.parametrize("n", [2, 3, 100])
def test_detectable_difference_is_found_at_the_extremes_of_a_plan(
    n: int, power: float, alpha: float
) -> None:
    least = minimum_detectable_difference(n, 0.2, 1, alpha=alpha, power=power)
    found = detection_power(least / 0.2 * math.sqrt(n), n - 1, alpha)
    assert found == pytest.approx(power, abs=1e-4)
