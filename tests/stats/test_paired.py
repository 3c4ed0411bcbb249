from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.proportion import proportion_confint

from resbench.stats.contrasts import contrast
from resbench.stats.paired import hierarchical_bootstrap, mcnemar

Correct = NDArray[np.bool_]


def discordant(b: int, c: int, both: int = 12) -> tuple[Correct, Correct]:
    """Two [images] arrays with b images right only in A and c only in B."""
    right_a = np.array([True] * b + [False] * c + [True] * both)
    right_b = np.array([False] * b + [True] * c + [True] * both)
    return right_a, right_b


def networks(
    seeds: int, images: int, rate_a: float, rate_b: float, rng: np.random.Generator
) -> tuple[Correct, Correct]:
    """Two [seeds, images] arrays; an image is as hard in every run of an arm."""
    hard = rng.random(images)
    noise = rng.normal(0, 0.01, (2 * seeds, images))
    right = hard + noise > np.repeat([rate_a, rate_b], seeds)[:, None] / 100
    return right[:seeds], right[seeds:]


def test_mcnemar_gives_the_published_values_of_fagerland() -> None:
    # Fagerland et al. 2013, Table 1: airway hyper-responsiveness, 1 and 7 discordant of 21
    ours = mcnemar(*discordant(1, 7))
    assert (ours.b, ours.c) == (1, 7)
    assert ours.p_mid == pytest.approx(0.0391, abs=5e-5)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_equals_statsmodels_and_mirrors(b: int, c: int) -> None:
    ours, mirrored = mcnemar(*discordant(b, c)), mcnemar(*discordant(c, b))
    exact = reference_mcnemar([[9, b], [c, 9]], exact=True).pvalue
    if b + c:  # the mid-p counts half of the observed table's probability, in each tail
        at_tail = stats.binom.pmf(b, b + c, 0.5)
        assert ours.p_mid == pytest.approx(exact - (at_tail if b != c else at_tail / 2))
    assert ours.p_mid == pytest.approx(mirrored.p_mid)
    assert 0 < ours.p_mid <= exact <= 1


def test_mcnemar_without_a_discordant_image_finds_nothing() -> None:
    ours = mcnemar(*discordant(0, 0))
    assert ours.p_mid == 1


def test_mcnemar_refuses_arrays_over_different_images() -> None:
    with pytest.raises(ValueError, match="are not one"):
        mcnemar(np.ones(5, bool), np.ones(6, bool))


def test_bootstrap_over_images_that_never_change_is_the_seed_level_t_interval() -> None:
    # Each image's errors per seed are the same pattern, so images carry no noise of their own.
    right_a = np.repeat([[True], [True], [True]], 4000, axis=1)
    right_b = right_a.copy()
    right_b[0, :40], right_b[1, 40:120], right_b[2, 120:180] = False, False, False
    ours = hierarchical_bootstrap(right_a, right_b, paired_seeds=True, resamples=40_000)
    seeds = contrast([(0, 0, 0), (1.0, 2.0, 1.5)], (-1, 1), paired=True).interval(0.95)
    assert ours.mean == pytest.approx(1.5)
    assert (ours.interval.low, ours.interval.high) == pytest.approx(
        (seeds.low, seeds.high), abs=0.1
    )


def test_bootstrap_of_one_seed_per_arm_covers_the_images_only_and_says_so() -> None:
    # Arm A is always right, so the difference is B's error rate: Wilson is the reference.
    right_b = (np.arange(2000) >= 100)[None]
    ours = hierarchical_bootstrap(np.ones((1, 2000), bool), right_b, paired_seeds=True)
    low, high = proportion_confint(100, 2000, method="wilson")
    assert ours.interval.low == pytest.approx(100 * low, abs=0.2)
    assert ours.interval.high == pytest.approx(100 * high, abs=0.2)
    assert "not other seeds" in ours.interval.reason


@pytest.mark.parametrize("paired", [True, False])
def test_swapping_arms_mirrors_the_bootstrap(paired: bool) -> None:
    a, b = networks(4, 2000, 5, 6, np.random.default_rng(1))
    one = hierarchical_bootstrap(a, b, paired_seeds=paired, resamples=20_000)
    two = hierarchical_bootstrap(b, a, paired_seeds=paired, resamples=20_000)
    assert one.mean == -two.mean
    assert one.interval.low == pytest.approx(-two.interval.high, abs=0.1)
    assert one.p_b_worse == pytest.approx(1 - two.p_b_worse, abs=0.02)


def test_bootstrap_repeats_bit_for_bit_and_depends_on_its_seed() -> None:
    a, b = networks(3, 1000, 20, 22, np.random.default_rng(2))
    first, again, other = (
        hierarchical_bootstrap(a, b, paired_seeds=True, seed=s) for s in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_bootstrap_accepts_predictions_stored_as_0_and_1() -> None:
    a, b = networks(3, 1000, 20, 22, np.random.default_rng(2))
    as_bytes = hierarchical_bootstrap(a.astype("u1"), b.astype("u1"), paired_seeds=True)
    assert as_bytes == hierarchical_bootstrap(a, b, paired_seeds=True)
    assert mcnemar(a[0].astype("u1"), b[0].astype("u1")) == mcnemar(a[0], b[0])


def test_bootstrap_of_equal_networks_or_of_nothing_is_defined() -> None:
    a, _ = networks(3, 1000, 20, 22, np.random.default_rng(2))
    same = hierarchical_bootstrap(a, a, paired_seeds=True)
    assert same.mean == 0
    assert same.interval.low < 0 < same.interval.high
    assert same.p_two_sided > 0.5
    for empty in (np.ones((0, 10), bool), np.ones((3, 0), bool)):
        nothing = hierarchical_bootstrap(empty, empty, paired_seeds=True)
        assert math.isnan(nothing.p_two_sided)
        assert math.isinf(nothing.interval.half_width)


def test_bootstrap_refuses_arrays_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="same images"):
        hierarchical_bootstrap(np.ones((3, 10), bool), np.ones((3, 9), bool), paired_seeds=False)
    with pytest.raises(ValueError, match="cannot be paired"):
        hierarchical_bootstrap(np.ones((3, 10), bool), np.ones((2, 10), bool), paired_seeds=True)
