from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from resbench.stats.contrasts import ArmResult, align, contrast, flips_sd, seed_contrast
from resbench.stats.intervals import sampling_sd

A = (5.31, 5.62, 5.48, 5.55, 5.20)
B = (5.95, 5.70, 5.99, 5.81, 5.90)
# Student 1908, hours of sleep gained under two drugs by the same ten patients
DRUG_1 = (0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0)
DRUG_2 = (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4)
errors = st.lists(st.floats(1, 99).map(lambda x: round(x, 2)), min_size=2, max_size=6)


def arm(cell: str, values: Sequence[float], seeds: Iterable[int] | None = None) -> ArmResult:
    return ArmResult(cell, tuple(seeds if seeds is not None else range(len(values))), tuple(values))


def test_paired_contrast_equals_scipys_paired_t_test() -> None:
    ours, reference = seed_contrast([arm("a", A), arm("b", B)], (-1, 1)), stats.ttest_rel(B, A)
    assert ours.p_above() == pytest.approx(stats.ttest_rel(B, A, alternative="greater").pvalue)
    assert ours.p_below() == pytest.approx(stats.ttest_rel(B, A, alternative="less").pvalue)
    interval = ours.interval(0.95)
    assert (interval.low, interval.high) == pytest.approx(tuple(reference.confidence_interval()))


def test_unpaired_contrast_equals_scipys_welch_test() -> None:
    ours = seed_contrast([arm("a", A, range(5)), arm("b", B[:3], range(10, 13))], (-1, 1))
    reference = stats.ttest_ind(B[:3], A, equal_var=False)
    assert ours.df == pytest.approx(reference.df)
    assert 2 * ours.p_above() == pytest.approx(reference.pvalue)
    interval = ours.interval(0.9)
    assert (interval.low, interval.high) == pytest.approx(tuple(reference.confidence_interval(0.9)))


def test_student_sleep_data_give_the_published_values() -> None:
    paired = contrast([DRUG_1, DRUG_2], (1, -1), paired=True)
    assert paired.effect / paired.se == pytest.approx(-4.0621, abs=5e-5)
    assert 2 * paired.p_below() == pytest.approx(0.002833, abs=5e-7)
    welch = contrast([DRUG_1, DRUG_2], (1, -1), paired=False)
    assert welch.effect / welch.se == pytest.approx(-1.8608, abs=5e-5)
    assert welch.df == pytest.approx(17.776, abs=5e-4)
    assert 2 * welch.p_below() == pytest.approx(0.07939, abs=5e-6)


def test_a_contrast_of_four_independent_arms_has_satterthwaites_degrees_of_freedom() -> None:
    groups = [A, B, A[:3], B[:4]]
    ours = contrast(groups, (1, -1, -1, 1), paired=False)
    parts = [np.var(g, ddof=1) / len(g) for g in groups]
    df = sum(parts) ** 2 / sum(p**2 / (len(g) - 1) for p, g in zip(parts, groups, strict=True))
    assert (ours.se, ours.df) == pytest.approx((math.sqrt(sum(parts)), df))
    unused = contrast(groups, (-1, 1, 0, 0), paired=False)
    assert 2 * unused.p_above() == pytest.approx(stats.ttest_ind(B, A, equal_var=False).pvalue)


def test_arms_are_paired_by_seed_number_not_by_position() -> None:
    shuffled = arm("b", [B[i] for i in (2, 0, 1, 4, 3)], (2, 0, 1, 4, 3))
    assert seed_contrast([arm("a", A), shuffled], (-1, 1)) == seed_contrast(
        [arm("a", A), arm("b", B)], (-1, 1)
    )


def test_an_arm_with_fewer_seeds_is_paired_on_the_seeds_it_has() -> None:
    aligned, paired = align([arm("a", A), arm("b", B[:3], (4, 1, 3))])
    assert paired
    assert [a.seeds for a in aligned] == [(1, 3, 4), (1, 3, 4)]
    assert aligned[0].errors == (A[1], A[3], A[4])


def test_partly_shared_seeds_are_compared_without_throwing_runs_away() -> None:
    aligned, paired = align([arm("a", A[:3], (0, 1, 2)), arm("b", B[:3], (2, 3, 4))])
    assert not paired
    assert [len(a.seeds) for a in aligned] == [3, 3]


@pytest.mark.parametrize("paired", [True, False])
def test_identical_differences_are_never_certain(paired: bool) -> None:
    same = [(5.30, 5.30, 5.30), (5.60, 5.60, 5.60)]
    unknown = contrast(same, (-1, 1), paired=paired)
    assert math.isnan(unknown.p_above())
    assert math.isinf(unknown.interval(0.9).half_width)
    assert "spread is unknown" in unknown.reason
    floored = contrast(same, (-1, 1), paired=paired, n_test=10_000)
    assert floored.sd == pytest.approx(
        math.hypot(sampling_sd(5.3, 10_000), sampling_sd(5.6, 10_000))
    )
    assert floored.p_above() > 0.05


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ((), (5.0, 5.1), "an arm has no runs"),
        ((5.0,), (5.1,), "one seed"),
        ((5.0, math.nan), (5.1, 5.2), "not finite"),
    ],
)
def test_too_little_data_has_no_p_value_but_a_reason(
    a: Sequence[float], b: Sequence[float], reason: str
) -> None:
    for paired in (True, False):
        ours = contrast([a, b], (-1, 1), paired=paired)
        assert math.isnan(ours.p_above())
        assert math.isnan(ours.p_below())
        assert reason in ours.reason


@given(errors, errors, st.booleans())
def test_swapping_arms_mirrors_the_estimate(
    a: Sequence[float], b: Sequence[float], paired: bool
) -> None:
    size = min(len(a), len(b))
    a, b = (a[:size], b[:size]) if paired else (a, b)
    one, two = (contrast(x, (-1, 1), paired=paired, n_test=2000) for x in ((a, b), (b, a)))
    assert one.effect == pytest.approx(-two.effect)
    assert one.p_above() == pytest.approx(two.p_below())
    assert one.interval(0.95).low == pytest.approx(-two.interval(0.95).high)


@pytest.mark.parametrize(
    ("seeds", "values", "correct", "message"),
    [
        ((0, 0), (5.0, 5.1), None, "a seed occurs twice"),
        ((0, 1), (5.0,), None, "2 seeds, 1 errors"),
        ((0, 1), (5.0, 5.1), np.ones((3, 10), bool), r"correct is \(3, 10\)"),
        ((0, 1), (5.0, 5.1), np.ones(2, bool), r"correct is \(2,\)"),
    ],
)
def test_an_arm_whose_parts_do_not_fit_is_refused(
    seeds: tuple[int, ...],
    values: tuple[float, ...],
    correct: NDArray[np.bool_] | None,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        ArmResult("c", seeds, values, correct)


def test_seeds_that_agree_by_luck_are_judged_with_the_chance_flips_of_their_images() -> None:
    """Same errors with every seed, each on other images: no difference is certain for that."""
    rng = np.random.default_rng(1)

    def tested(cell: str, wrong: Sequence[int]) -> ArmResult:
        correct = np.ones((len(wrong), 1000), dtype=bool)
        for row, n in zip(correct, wrong, strict=True):
            row[rng.choice(1000, n, replace=False)] = False
        return ArmResult(cell, tuple(range(len(wrong))), tuple(n / 10 for n in wrong), correct)

    arms = [tested("a", (300, 301, 300)), tested("b", (320, 320, 321))]
    estimate = seed_contrast(arms, (-1, 1))
    flips = flips_sd([a.correct for a in arms if a.correct is not None], (-1, 1), paired=True)
    # n p (1 - p) flips in each arm, in points of 1,000 images
    assert flips == pytest.approx(math.sqrt(300 * 0.7 + 320 * 0.68) / 10, rel=0.05)
    assert estimate.sd == flips
    assert estimate.se == pytest.approx(flips / math.sqrt(3))
    assert "chance flips of 1,000 images" in estimate.reason
    bare = [ArmResult(a.cell, a.seeds, a.errors) for a in arms]
    assert seed_contrast(bare, (-1, 1)).p_above() < 0.001 < 0.05 < estimate.p_above()
    unpaired = flips_sd([a.correct for a in arms if a.correct is not None], (-1, 1), paired=False)
    assert unpaired == pytest.approx(flips, rel=0.1)  # of independent images


def test_seeds_that_differ_more_than_chance_are_judged_by_their_own_spread() -> None:
    rng = np.random.default_rng(2)
    correct = rng.random((3, 1000)) < np.array([[0.6], [0.7], [0.8]])
    errors = tuple(100 * (1 - correct.mean(axis=1)))
    other = ArmResult("b", (1, 2, 3), errors[::-1], correct[::-1])
    estimate = seed_contrast([ArmResult("a", (1, 2, 3), errors, correct), other], (-1, 1))
    assert estimate.reason == ""
    assert estimate.sd == pytest.approx(np.std(np.subtract(errors[::-1], errors), ddof=1))
