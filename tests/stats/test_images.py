from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from resbench.stats.contrasts import Estimate
from resbench.stats.images import mcnemar, other_images_p

Correct = NDArray[np.bool_]


def discordant(b: int, c: int) -> tuple[Correct, Correct]:
    """Two [images] arrays with b images right only in A and c only in B."""
    right_a = np.array([True] * b + [False] * c + [True] * 12)
    right_b = np.array([False] * b + [True] * c + [True] * 12)
    return right_a, right_b


def test_mcnemar_gives_the_published_values_of_fagerland() -> None:
    # Fagerland et al. 2013, Table 1: airway hyper-responsiveness, 1 and 7 discordant of 21
    found = mcnemar(*discordant(1, 7))
    assert (found.b, found.c) == (1, 7)
    assert found.p_two_sided == pytest.approx(0.0391, abs=5e-5)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_mid_p_and_mirrors(b: int, c: int) -> None:
    found, mirrored = mcnemar(*discordant(b, c)), mcnemar(*discordant(c, b))
    more = stats.binom.sf(b, b + c, 0.5) + stats.binom.pmf(b, b + c, 0.5) / 2
    assert found.p_b_worse == pytest.approx(more)
    assert found.p_b_worse == pytest.approx(1 - mirrored.p_b_worse)
    if b == c:
        assert (found.p_b_worse, found.p_two_sided) == pytest.approx((0.5, 1.0))


def test_arrays_over_different_images_are_refused() -> None:
    with pytest.raises(ValueError, match="are not one"):
        mcnemar(np.ones(5, bool), np.ones(6, bool))
    with pytest.raises(ValueError, match="same images"):
        other_images_p(Estimate(0, 1, 1, 2, 3), np.ones((3, 5), bool), np.ones((3, 6), bool))


def test_images_on_which_all_runs_agree_add_their_variance_to_that_of_the_seeds() -> None:
    worse = np.ones((3, 1000), bool)
    worse[:, :50] = False  # 5 % of the images, wrong in every run of one arm
    found = other_images_p(Estimate(5.0, 1.0, 0.5, 4.0, 3), np.ones((3, 1000), bool), worse)
    total = 0.5**2 + 1e4 * 0.05 * 0.95 / 1000
    expected = stats.t.sf(5.0 / math.sqrt(total), 4 * (total / 0.25) ** 2)
    assert found == pytest.approx(expected)


def test_images_that_flip_by_chance_alone_add_nothing() -> None:
    rng = np.random.default_rng(0)
    arms = rng.random((2, 3, 40_000)) >= 0.2
    found = other_images_p(Estimate(0.5, 1.0, 0.5, 4.0, 3), arms[0], arms[1])
    assert found == pytest.approx(stats.t.sf(1.0, 4), abs=0.002)


def test_swapping_the_arms_mirrors_the_p_value() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 4, 500)) >= 0.3
    one = other_images_p(Estimate(0.7, 1.0, 0.5, 4.0, 4), a, b)
    two = other_images_p(Estimate(-0.7, 1.0, 0.5, 4.0, 4), b, a)
    assert one == pytest.approx(1 - two)
