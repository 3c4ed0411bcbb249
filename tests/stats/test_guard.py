from __future__ import annotations

import numpy as np
import pytest

from resbench.stats.guard import guessing_error, near_guessing, still_falling


def test_guessing_errs_on_all_classes_but_one() -> None:
    assert (guessing_error(10), guessing_error(100)) == pytest.approx((90.0, 99.0))


@pytest.mark.parametrize(("error", "near"), [(44.9, False), (45.1, True), (90.0, True)])
def test_more_than_half_the_errors_of_guessing_is_near_guessing(error: float, near: bool) -> None:
    assert near_guessing(error, 10) == near


def test_an_error_that_moved_by_chance_flips_was_not_falling() -> None:
    rng = np.random.default_rng(0)
    flips = rng.normal(0, 0.2, (4000, 3, 2))
    found = [still_falling(list(run[:, 0] - run[:, 1]), 0.04) for run in flips]
    assert np.mean(found) == pytest.approx(0.023, abs=0.01)


@pytest.mark.parametrize(
    ("falls", "falling"), [((0.5, 0.6, 0.7), True), ((0.1, 0.2, 0.0), False), ((), False)]
)
def test_a_fall_beyond_chance_flips_says_that_training_was_not_done(
    falls: tuple[float, ...], falling: bool
) -> None:
    assert still_falling(falls, 0.04) == falling


def test_an_error_that_rose_was_not_falling() -> None:
    assert not still_falling([-3.0, -3.0, -3.0], 0.04)
