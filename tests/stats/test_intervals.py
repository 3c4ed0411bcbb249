from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS

from resbench.stats.intervals import prediction_interval, sampling_sd, summarise

ERRORS = [5.31, 5.62, 5.48, 5.55, 5.20]
percent = st.floats(0, 100, allow_nan=False)


def test_prediction_interval_equals_statsmodels() -> None:
    fit = OLS(ERRORS, [1.0] * len(ERRORS)).fit()
    expected = fit.get_prediction([1.0]).conf_int(obs=True, alpha=0.05)[0]
    ours = prediction_interval(ERRORS)
    assert (ours.low, ours.high) == pytest.approx(tuple(expected))


def test_prediction_interval_equals_the_circuit_pack_example_of_hahn_and_meeker() -> None:
    # Hahn and Meeker 1991, section 3.2: mean 50.10, s 1.31; their factor for one future unit
    # at n = 5 is 3.04.
    volts = [50.3, 48.3, 49.6, 50.4, 51.9]
    summary = summarise(volts)
    assert (round(summary.mean, 2), round(summary.sd, 2)) == (50.10, 1.31)
    assert prediction_interval(volts).half_width / summary.sd == pytest.approx(3.04, abs=0.005)


def test_printed_rounding_widens_the_prediction_interval_on_both_sides() -> None:
    plain, widened = prediction_interval(ERRORS), prediction_interval(ERRORS, half_width=0.05)
    assert widened.low == pytest.approx(plain.low - 0.05)
    assert widened.high == pytest.approx(plain.high + 0.05)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "no values"),
        ([5.5], "one run"),
        ([5.5, math.nan, 5.6], "1 of 3 values are not finite"),
        ([math.inf, math.nan], "2 of 2 values are not finite"),
        ([5.5, 5.5, 5.5], "identical values: the spread is unknown"),
    ],
)
def test_too_little_data_gives_an_unbounded_interval_with_a_reason(
    values: Sequence[float], reason: str
) -> None:
    ours = prediction_interval(values)
    assert (ours.low, ours.high) == (-math.inf, math.inf)
    assert reason in ours.reason


@pytest.mark.parametrize("value", [0.0, 5.5, 100.0])
def test_identical_values_never_give_a_zero_width_interval(value: float) -> None:
    ours = prediction_interval([value] * 3, n_test=10_000)
    sd = sampling_sd(value, 10_000)
    assert ours.half_width == pytest.approx(stats.t.ppf(0.975, 2) * sd * math.sqrt(4 / 3))
    assert ours.half_width > 0
    assert "binomial noise of 10000 test images" in ours.reason
    assert summarise([value] * 3, 10_000).sd == 0


def test_sampling_sd_is_the_binomial_one() -> None:
    assert sampling_sd(5.0, 10_000) == pytest.approx(
        100 * stats.binom(10_000, 0.05).std() / 1e4, 1e-3
    )


@given(st.lists(percent, max_size=6), st.floats(0.5, 0.99))
def test_intervals_lie_around_the_mean_and_are_nested(
    values: Sequence[float], level: float
) -> None:
    ours, surer = prediction_interval(values, level), prediction_interval(values, 0.995)
    if values:
        assert ours.low <= summarise(values).mean <= ours.high
    assert surer.low <= ours.low <= ours.high <= surer.high


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_outside_0_and_1_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        prediction_interval(ERRORS, level)
