import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from resbench.data.images import corrupt, noise_hash, transition_matrix

GOLDEN = "94d5de308259d42453207d1e811c3698aa4d39379ea7db234a556cfedbde60fb"
SEED = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("clean_ratio", [0.9, 0.7, 0.5, 0.3])
def test_transition_matrix_is_that_of_the_paper(classes: int, clean_ratio: float) -> None:
    """Pearson's chi-square over all C * C counts; by chance it would fail for one seed in 10^6."""
    per_class = 20_000
    clean = np.repeat(np.arange(classes), per_class)
    noisy = corrupt(clean, clean_ratio, classes, seed=2017)
    limit = stats.chi2.isf(1e-6, classes * (classes - 1))

    def distance(stays: float) -> float:
        expected = np.full((classes, classes), (1 - stays) / (classes - 1))
        np.fill_diagonal(expected, stays)
        observed = transition_matrix(clean, noisy, classes)
        return per_class * ((observed - expected) ** 2 / expected).sum()

    assert distance(clean_ratio) < limit
    replaced_by_any_class = clean_ratio + (1 - clean_ratio) / 10
    assert distance(replaced_by_any_class) > limit, "control: a wrong diagonal is noticed"


@settings(deadline=None)
@given(SEED, st.floats(0, 1), st.integers(2, 100))
def test_same_seed_gives_the_same_labels(seed: int, clean_ratio: float, classes: int) -> None:
    labels = np.arange(200) % classes
    noisy = corrupt(labels, clean_ratio, classes, seed)
    np.testing.assert_array_equal(noisy, corrupt(labels.copy(), clean_ratio, classes, seed))
    assert noisy.dtype == np.int64
    assert ((noisy >= 0) & (noisy < classes)).all()


@settings(deadline=None)
@given(SEED, st.floats(0, 1), st.floats(0, 1))
def test_cleaner_labels_keep_a_part_of_the_same_flips(seed: int, one: float, other: float) -> None:
    labels = np.arange(200) % 10
    noisy, cleaner = (corrupt(labels, r, 10, seed) for r in sorted((one, other)))
    flipped = cleaner != labels
    np.testing.assert_array_equal(cleaner[flipped], noisy[flipped])


def test_clean_ratio_one_keeps_and_zero_changes_every_label() -> None:
    labels = np.arange(1000) % 10
    np.testing.assert_array_equal(corrupt(labels, 1, 10, 0), labels)
    assert (corrupt(labels, 0, 10, 0) != labels).all()


def test_labels_of_a_seed_never_change_between_versions() -> None:
    labels = np.arange(50_000) % 10
    assert noise_hash(corrupt(labels, 0.7, 10, 0)) == GOLDEN


def test_hash_is_of_values_not_of_their_layout() -> None:
    labels = np.arange(10)
    assert noise_hash(labels) == noise_hash(labels.astype(">i8")) == noise_hash(np.arange(20)[:10])
    assert noise_hash(labels) != noise_hash(labels[::-1])


def test_absent_class_has_no_frequencies() -> None:
    matrix = transition_matrix(np.array([0, 0]), np.array([0, 1]), 3)
    np.testing.assert_array_equal(matrix, [[0.5, 0.5, 0], [0, 0, 0], [0, 0, 0]])
