from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.proportion import proportion_confint

from resbench.stats import (
    Interval,
    prediction_interval,
    sampling_sd,
    summarise,
    t_interval,
    wilson,
)

ERRORS = [5.31, 5.62, 5.48, 5.55, 5.20]
percent = st.floats(0, 100, allow_nan=False)


def test_t_interval_equals_scipy() -> None:
    expected = stats.ttest_1samp(ERRORS, 0).confidence_interval(0.9)
    ours = t_interval(ERRORS, 0.9)
    assert (ours.low, ours.high) == pytest.approx(tuple(expected))


def test_prediction_interval_equals_statsmodels() -> None:
    fit = OLS(ERRORS, [1.0] * len(ERRORS)).fit()
    expected = fit.get_prediction([1.0]).conf_int(obs=True, alpha=0.05)[0]
    ours = prediction_interval(ERRORS)
    assert (ours.low, ours.high) == pytest.approx(tuple(expected))


def test_intervals_equal_the_circuit_pack_example_of_hahn_and_meeker() -> None:
    # Hahn and Meeker 1991, section 3.2: mean 50.10, s 1.31; their factors for n = 5 are 1.24 for
    # the mean and 3.04 for one future unit.
    volts = [50.3, 48.3, 49.6, 50.4, 51.9]
    summary = summarise(volts)
    assert (round(summary.mean, 2), round(summary.sd, 2)) == (50.10, 1.31)
    assert t_interval(volts).half_width / summary.sd == pytest.approx(1.24, abs=0.005)
    assert prediction_interval(volts).half_width / summary.sd == pytest.approx(3.04, abs=0.005)


def test_printed_rounding_widens_the_prediction_interval_on_both_sides() -> None:
    plain, widened = prediction_interval(ERRORS), prediction_interval(ERRORS, half_width=0.05)
    assert widened.low == pytest.approx(plain.low - 0.05)
    assert widened.high == pytest.approx(plain.high + 0.05)


@pytest.mark.parametrize(
    ("errors", "n", "low", "high"),
    [  # Newcombe 1998, Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_newcombes_published_table_and_statsmodels(
    errors: int, n: int, low: float, high: float
) -> None:
    ours = wilson(errors, n)
    assert (ours.low / 100, ours.high / 100) == pytest.approx((low, high), abs=5e-5)
    reference = proportion_confint(errors, n, method="wilson")
    assert (ours.low / 100, ours.high / 100) == pytest.approx(reference, abs=1e-12)


def test_wilson_of_no_images_is_everything_and_of_impossible_counts_an_error() -> None:
    nothing = wilson(0, 0)
    assert (nothing.low, nothing.high, nothing.reason) == (0, 100, "no images")
    with pytest.raises(ValueError, match="7 errors among 5 images"):
        wilson(7, 5)


@pytest.mark.parametrize("interval", [t_interval, prediction_interval])
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
    interval: Callable[..., Interval], values: Sequence[float], reason: str
) -> None:
    ours = interval(values)
    assert (ours.low, ours.high) == (-math.inf, math.inf)
    assert reason in ours.reason


@pytest.mark.parametrize("value", [0.0, 5.5, 100.0])
def test_identical_values_never_give_a_zero_width_interval(value: float) -> None:
    ours = t_interval([value] * 3, n_test=10_000)
    sd = sampling_sd(value, 10_000)
    assert ours.half_width == pytest.approx(stats.t.ppf(0.975, 2) * sd / math.sqrt(3))
    assert ours.half_width > 0
    assert "binomial noise of 10000 test images" in ours.reason
    assert summarise([value] * 3, 10_000).sd == 0


def test_sampling_sd_is_the_binomial_one() -> None:
    assert sampling_sd(5.0, 10_000) == pytest.approx(
        100 * stats.binom(10_000, 0.05).std() / 1e4, 1e-3
    )


@given(st.lists(percent, max_size=6), st.floats(0.5, 0.99))
def test_intervals_are_ordered_around_the_mean_and_nested(
    values: Sequence[float], level: float
) -> None:
    mean_of, new = t_interval(values, level), prediction_interval(values, level, 0.005)
    assert new.low <= mean_of.low <= mean_of.high <= new.high
    if values:
        centre = summarise(values).mean
        assert mean_of.low <= centre <= mean_of.high
    assert t_interval(values, 0.995).half_width >= mean_of.half_width


@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_contains_the_observed_rate_and_mirrors_errors_and_successes(
    case: tuple[int, int],
) -> None:
    errors, n = case
    ours, mirrored = wilson(errors, n), wilson(n - errors, n)
    assert ours.low - 1e-9 <= 100 * errors / n <= ours.high + 1e-9
    assert (ours.low, ours.high) == pytest.approx((100 - mirrored.high, 100 - mirrored.low))


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_outside_0_and_1_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        t_interval(ERRORS, level)
