from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resbench.stats.intervals import prediction_interval
from resbench.stats.verdicts import RESOLUTION_PP, judge_cell, parse_printed

NEAR = (5.41, 5.62, 5.50)
percent = st.floats(0, 100).map(lambda x: round(x, 2))


@pytest.mark.parametrize(
    ("printed", "value", "half_unit"),
    [
        ("5.52", 5.52, 0.005),
        ("5.40", 5.4, 0.005),
        ("5.4", 5.4, 0.05),
        ("28", 28, 0.5),
        ("1e1", 10, 5),
    ],
)
def test_the_printed_precision_is_read_from_the_text(
    printed: str, value: float, half_unit: float
) -> None:
    assert parse_printed(printed) == pytest.approx((value, half_unit))


@pytest.mark.parametrize("printed", ["", "5.52%", "nan", "inf", "five"])
def test_a_printed_value_that_is_no_decimal_is_refused(printed: str) -> None:
    with pytest.raises(ValueError, match="printed value"):
        parse_printed(printed)


def test_a_printed_number_inside_a_narrow_prediction_interval_is_replicated() -> None:
    verdict = judge_cell(NEAR, "5.52", n_test=10_000)
    assert verdict.kind == "replicated"
    assert verdict.interval == prediction_interval(NEAR, 0.95, 0.005)
    assert verdict.difference == pytest.approx(5.51 - 5.52)
    assert verdict.seeds_needed is None
    assert "inside the 95% interval for one new run of ours, 4.98 to 6.04 (3 runs" in verdict.text
    assert "one draw" in verdict.text


@pytest.mark.parametrize(("printed", "kind"), [("6.52", "better"), ("4.52", "worse")])
def test_a_printed_number_outside_is_better_or_worse(printed: str, kind: str) -> None:
    verdict = judge_cell(NEAR, printed, n_test=10_000)
    assert verdict.kind == kind
    assert verdict.text.startswith(kind.capitalize())
    assert "one draw" in verdict.text


def test_the_printed_rounding_decides_at_the_edge() -> None:
    values = (5.44, 5.65, 5.53)
    edge = prediction_interval(values).high
    assert 6.05 < edge < 6.09
    assert judge_cell(values, "6.1", n_test=10_000).kind == "replicated"
    assert judge_cell(values, "6.10", n_test=10_000).kind == "better"


def test_a_wide_interval_is_inconclusive_and_says_how_many_seeds_narrow_it() -> None:
    values = (5.1, 5.5, 5.9)
    verdict = judge_cell(values, "5.52", n_test=10_000)
    assert verdict.kind == "inconclusive"
    # t(0.975, n - 1) 0.4 sqrt(1 + 1/n) + 0.005 <= 1: 1.024 at n = 8, 0.978 at n = 9
    assert verdict.seeds_needed == 8 + 1
    assert "About 9 seeds" in verdict.text


def test_runs_that_differ_too_much_are_never_promised_a_decision() -> None:
    verdict = judge_cell((4.0, 5.5, 7.0), "5.52", n_test=10_000)
    assert (verdict.kind, verdict.seeds_needed) == ("inconclusive", None)
    assert "No number of seeds" in verdict.text


def test_one_run_is_never_replicated_however_close() -> None:
    verdict = judge_cell((5.52,), "5.52", n_test=10_000)
    assert verdict.kind == "inconclusive"
    assert "how many is not known yet" in verdict.text
    planned = judge_cell((5.52,), "5.52", n_test=10_000, planning_sd=0.2)
    assert (planned.kind, planned.seeds_needed) == ("inconclusive", 3)


def test_identical_runs_are_judged_with_the_noise_of_the_test_set() -> None:
    verdict = judge_cell((5.50,) * 3, "5.60", n_test=10_000)
    assert verdict.kind == "inconclusive"
    assert verdict.interval.half_width > 0.9
    assert "binomial noise" in verdict.text
    unknown = judge_cell((5.50,) * 3, "5.50", n_test=None)
    assert unknown.kind == "inconclusive"
    assert "the spread is unknown" in unknown.text


def test_a_value_that_is_not_finite_is_never_averaged_away() -> None:
    verdict = judge_cell((5.5, math.nan, 5.6), "5.52", n_test=10_000)
    assert verdict.kind == "inconclusive"
    assert "1 of 3 values are not finite" in verdict.text


def test_no_runs_is_not_run() -> None:
    verdict = judge_cell((), "5.52", n_test=10_000)
    assert (verdict.kind, verdict.text) == ("not_run", "Not run.")
    assert math.isnan(verdict.difference)


def test_other_data_tier_or_split_is_not_comparable_and_named() -> None:
    why = ("data: digits, not CIFAR-10", "split: printed is a training error")
    verdict = judge_cell(NEAR, "5.52", n_test=360, differences=why)
    assert verdict.kind == "not_comparable"
    assert "digits, not CIFAR-10; split: printed is a training error" in verdict.text


def test_a_blank_printed_cell_is_not_comparable() -> None:
    verdict = judge_cell(NEAR, None, n_test=10_000)
    assert verdict.kind == "not_comparable"
    assert "prints no number" in verdict.text
    assert math.isnan(verdict.difference)


@given(st.lists(percent, max_size=6), percent, st.sampled_from([None, 360, 10_000]))
def test_replicated_never_means_further_apart_than_the_resolution(
    values: Sequence[float], printed: float, n_test: int | None
) -> None:
    verdict = judge_cell(values, f"{printed:.2f}", n_test=n_test)
    if verdict.kind == "replicated":
        assert len(values) >= 2
        assert abs(verdict.difference) <= RESOLUTION_PP
    if verdict.kind in ("better", "worse"):
        assert (verdict.difference < 0) == (verdict.kind == "better")


@given(st.lists(percent, min_size=2, max_size=5), percent)
def test_mirrored_errors_swap_better_and_worse(values: Sequence[float], printed: float) -> None:
    swap = {"better": "worse", "worse": "better"}
    one = judge_cell(values, f"{printed:.2f}", n_test=2000).kind
    two = judge_cell([100 - v for v in values], f"{100 - printed:.2f}", n_test=2000).kind
    assert two == swap.get(one, one)
