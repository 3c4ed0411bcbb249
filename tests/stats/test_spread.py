from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resbench.stats.contrasts import put_to_test
from resbench.stats.guard import guessing_error, last_fall, near_guessing, still_falling
from resbench.stats.spread import (
    Arm,
    flip_variance,
    hidden_shift,
    moderated,
    reference_variance,
    sampling_sd,
    strangers,
)
from tests.stats.arms import arm


@pytest.mark.parametrize(
    ("variance", "n", "expected"),
    [
        (0.0, 3, (0.5, 4.0)),  # (2 x 1 + 2 x 0) / 4
        (1.0, 3, (1.0, 4.0)),
        (2.0, 3, (2.0, 2.125)),  # above the reference the prior's 2 fade to 2 (1/2)^4
        (0.5, 8, ((2 + 3.5) / 9, 9.0)),
        (25.0, 3, (25.0, 2.0)),  # far above, an arm is judged by its own runs
    ],
)
def test_a_prior_of_two_degrees_of_freedom_raises_what_lies_below_the_reference(
    variance: float, n: int, expected: tuple[float, float]
) -> None:
    assert moderated(variance, n, 1.0) == pytest.approx(expected, abs=1e-5)


@given(st.floats(0, 1e3), st.integers(2, 8), st.floats(1e-6, 1e3))
def test_no_spread_is_ever_lowered_or_loses_a_degree_of_freedom(
    variance: float, n: int, reference: float
) -> None:
    found, df = moderated(variance, n, reference)
    assert variance <= found <= max(variance, reference) * (1 + 1e-12)
    assert n - 1 <= df <= n + 1


def test_the_reference_is_chance_times_what_the_other_arms_show_and_never_less() -> None:
    wide = [arm(str(i), 5 - sd, 5, 5 + sd, chance=0.01) for i, sd in enumerate((0.3, 0.4, 9.0))]
    median = 0.16 / 0.01
    assert reference_variance(0.05, wide) == pytest.approx(0.05 * median, rel=1e-3)
    for others in (arm("a", 5.0, 5.01, 5.02), arm("a", 5.0)):
        assert reference_variance(0.05, [others]) == 0.05


def test_chance_flips_are_the_variance_of_runs_whose_images_flip_by_themselves() -> None:
    rng = np.random.default_rng(1)
    rates = rng.beta(0.2, 2.0, size=2000)
    runs = rng.random((4000, rates.size)) >= rates
    errors = 100 * (1 - runs.mean(axis=1))
    found = [flip_variance(errors[i : i + 3], 2000, runs[i : i + 3]) for i in range(0, 300, 3)]
    assert np.mean(found) == pytest.approx(errors.var(), rel=0.06)
    assert np.std(found) / np.mean(found) < 0.1  # known far better than from three errors


def test_without_predictions_or_flips_chance_is_binomial() -> None:
    binomial = sampling_sd(5.0, 1000) ** 2
    same = np.tile(np.arange(1000) >= 50, (2, 1))
    assert flip_variance([4.0, 6.0], 1000) == pytest.approx(binomial)
    assert flip_variance([5.0, 5.0], 1000, same) == pytest.approx(binomial)
    assert flip_variance([5.0], 1000, same[:1]) == pytest.approx(binomial)


def test_sampling_sd_is_the_binomial_one_and_never_zero() -> None:
    exact = 100 * stats.binom(10_000, 0.05).std() / 1e4
    assert sampling_sd(5.0, 10_000) == pytest.approx(exact, rel=1e-3)
    assert sampling_sd(0.0, 10_000) == pytest.approx(sampling_sd(100.0, 10_000))
    assert sampling_sd(0.0, 10_000) > 0


@pytest.mark.parametrize(
    ("errors", "diverged", "expected"),
    [
        ((5.0, 5.1, 5.2), [], False),
        ((5.0, 5.1, 8.0), [], True),
        ((5.0, 9.0, 13.0), [], False),  # far apart, but none is a stranger to the others
        ((5.0, 5.1, 5.2, 5.0, 8.0), [], True),
        ((5.0, 5.1, 5.2, 5.0, 5.1, 8.1, 8.0, 8.2), [], True),  # one by one, each hides the others
        ((5.0, 5.1, 5.2, 2.0, 8.0), [], True),
        ((5.0, 8.0), [], False),
        ((90.0, 5.0, 5.1), [1], True),
    ],
)
def test_an_arm_is_uneven_when_one_seed_diverged_or_is_a_stranger_to_the_others(
    errors: tuple[float, ...], diverged: list[int], expected: bool
) -> None:
    arms = arm("a", *errors, diverged=diverged), arm("b", 5.0, 5.1, 5.2)
    assert put_to_test(arms, (-1, 1), ()).uneven == (("a",) if expected else ())


@pytest.mark.parametrize(("n", "apart"), [(3, 1), (5, 1), (5, 2), (8, 3)])
def test_seeds_are_strangers_if_the_nearest_of_them_is_for_all_seeds_and_numbers_of_them(
    n: int, apart: int
) -> None:
    rest = [5 + i / 10 for i in range(n - apart)]
    variance, df = moderated(float(np.var(rest, ddof=1)), n - apart, 0.04)
    limit = stats.t.isf(0.01 / 2 / n / ((n - 1) // 2), df) * math.sqrt(
        variance * (1 + 1 / len(rest))
    )
    for share, expected in ((0.99, False), (1.01, True)):
        far = [np.mean(rest) + share * limit + i / 10 for i in range(apart)]
        assert bool(strangers(arm("a", *rest, *far), 0.04)) == expected


def test_a_lucky_seed_is_found_beside_one_that_failed() -> None:
    low, high = strangers(arm("a", 5.0, 5.1, 5.2, 5.0, 5.1, 5.2, 2.0, 80.0), 0.04)
    assert (low, high) == pytest.approx((-3.1, 74.9))


@pytest.mark.parametrize(("n", "rate"), [(3, 0.632), (5, 0.451), (8, 0.312)])
def test_a_seed_that_failed_in_an_arm_of_the_same_kind_may_have_failed_here_unseen(
    n: int, rate: float
) -> None:
    assert stats.binom.cdf(0, n, rate) == pytest.approx(0.05, abs=0.001)
    quiet = arm("56/arl", *[5.0, 5.1, 5.2, 5.0, 5.1, 5.2, 5.0, 5.1][:n])
    failed = arm("92/arl", 5.0, 5.1, 8.05)
    assert hidden_shift(quiet, [failed], better=True) == pytest.approx(3 * rate, abs=0.005)
    twice = arm("92/arl", 5.0, 5.1, 8.05, 5.1, 5.0, 8.05, 5.1, 5.0)
    assert hidden_shift(quiet, [twice], better=True) == pytest.approx(3 * rate, abs=0.02)
    # Another kind of arm, one that has no stranger, or that diverged and so shows it itself.
    assert hidden_shift(quiet, [arm("92/nal", 5.0, 5.1, 8.05)], better=True) == 0
    # A worse arm has lost nothing, and may have been lucky where one of its kind was.
    assert hidden_shift(quiet, [failed], better=False) == 0
    lucky = arm("92/arl", 5.0, 5.1, 2.05)
    for better in (False, True):  # nor is a better arm even where one of its kind was not
        found = hidden_shift(quiet, [lucky], better=better)
        assert found == pytest.approx(3 * rate, abs=0.005)
    assert hidden_shift(quiet, [arm("92/arl", 5.0, 5.1, 5.3)], better=True) == 0
    assert hidden_shift(quiet, [arm("92/arl", 5.0, 5.1, 5.2, 90.0, diverged=[4])], better=True) == 0


@pytest.mark.parametrize("n", [3, 5, 8])
def test_at_most_one_even_arm_in_a_hundred_is_called_uneven(n: int) -> None:
    rng = np.random.default_rng(n)
    found = [bool(strangers(arm("a", *rng.normal(5, 0.2, n)), 0.04)) for _ in range(3000)]
    assert np.mean(found) <= 0.01 + 3 * math.sqrt(0.01 / 3000)


def test_parts_of_an_arm_that_do_not_fit_are_refused() -> None:
    for seeds, errors in (((1, 1), (5, 5)), ((1, 2), (5,))):
        with pytest.raises(ValueError, match="do not fit"):
            Arm("a", seeds, errors)


def test_only_takes_runs_in_the_order_asked_for() -> None:
    whole = arm("a", 5.0, 90.0, 6.0, diverged=[2])
    found = whole.only([3, 4, 2])
    assert (found.seeds, found.errors, found.diverged) == ((3, 2), (6.0, 90.0), frozenset({2}))
    assert whole.only([1, 3]).diverged == frozenset()


def test_runs_that_diverged_or_are_not_asked_for_say_nothing_of_chance_flips() -> None:
    lost = arm("a", 5.0, 6.0, 90.0, diverged=[3])
    assert lost.chance_variance == lost.only([1, 2]).chance_variance
    assert lost.only([3]).chance_variance > 0
    rng = np.random.default_rng(0)
    kept = dict(enumerate(rng.random((4, 1000)) >= 0.05, 1))
    errors = tuple(float(100 * (1 - row.mean())) for row in kept.values())
    whole = Arm("a", (1, 2, 3, 4), errors, 1000, kept=kept)
    first = Arm("a", (1, 2, 3), errors[:3], 1000, kept={seed: kept[seed] for seed in (1, 2, 3)})
    assert whole.only([1, 2, 3]).chance_variance == first.chance_variance
    assert replace(whole, kept=first.kept).correct is None


# ------------------------------------------------------------------------ whether it has learnt


def test_more_than_half_the_errors_of_guessing_is_near_guessing() -> None:
    assert (guessing_error(10), guessing_error(100)) == pytest.approx((90.0, 99.0))
    assert [near_guessing(error, 10) for error in (45.0, 45.1, 90.0)] == [False, True, True]


def test_an_error_that_moved_by_chance_flips_was_not_falling() -> None:
    flips = np.random.default_rng(0).normal(0, 0.2, (4000, 3, 2))
    found = [still_falling(list(run[:, 0] - run[:, 1]), 0.04) for run in flips]
    assert np.mean(found) == pytest.approx(0.023, abs=0.01)


@pytest.mark.parametrize(
    ("epochs", "fall"), [(1, 7), (2, 1), (5, 1), (10, 1), (11, 2), (20, 2), (21, 3), (200, 20)]
)
def test_a_fall_is_that_of_the_last_tenth_of_the_epochs_and_at_least_of_one(
    epochs: int, fall: int
) -> None:
    """A network of one epoch has fallen from guessing."""
    assert last_fall([float(-epoch) for epoch in range(epochs)], 7.0) == fall


@pytest.mark.parametrize(
    ("falls", "falling"),
    [((0.5, 0.6, 0.7), True), ((0.1, 0.2, 0.0), False), ((-3.0,) * 3, False), ((), False)],
)
def test_a_fall_beyond_chance_flips_says_that_training_was_not_done(
    falls: tuple[float, ...], falling: bool
) -> None:
    assert still_falling(falls, 0.04) == falling
