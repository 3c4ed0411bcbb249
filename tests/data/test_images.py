from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from resbench.data.images import (
    Images,
    corrupt,
    downscale,
    noise_hash,
    stratified_indices,
    transition_matrix,
)
from resbench.errors import UsageError
from tests.data.archives import in_order, make_images

SUBSET = [5, 9, 10, 17, 24, 27, 29, 31, 42, 43, 46, 52, 56, 58, 60, 63, 65, 68, 71, 94]
NOISE = "94d5de308259d42453207d1e811c3698aa4d39379ea7db234a556cfedbde60fb"
SEED = st.integers(0, 2**63 - 1)


@given(st.integers(0, 2**32 - 1), st.sampled_from([(8, 4), (8, 2), (6, 2), (9, 3), (4, 4)]))
def test_downscale_is_the_exact_mean_rounded_half_to_even(
    seed: int, sides: tuple[int, int]
) -> None:
    side, px = sides
    factor = side // px
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    images[1] = random.integers(0, 4, (side, side, 3))  # many exact halves
    small = downscale(images, px)
    assert small.dtype == np.uint8
    for n, y, x, c in np.ndindex(2, px, px, 3):
        block = images[n, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor, c]
        assert small[n, y, x, c] == round(Fraction(int(block.sum()), factor**2))


def build(**changes: object) -> Images:
    images, labels = make_images(10, 1)
    parts = {
        "train_images": images,
        "train_labels": labels,
        "test_images": images[:5],
        "test_labels": labels[:5],
        "num_classes": 10,
        "class_names": tuple("0123456789"),
    }
    return Images(**(parts | changes))  # type: ignore[arg-type]


def test_fingerprint_is_of_pixels_labels_shapes_classes_and_their_split() -> None:
    one = build()
    images, labels = one.train_images, one.train_labels
    changed = images.copy()
    changed[3, 1, 2, 0] ^= 1
    others = [
        build(train_images=changed),
        build(train_labels=labels[::-1]),
        build(train_images=images.reshape(10, 16, 64, 3)),
        build(
            train_images=images[:5], train_labels=labels[:5], test_images=images, test_labels=labels
        ),
        build(num_classes=11),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_rows_stand_in_canonical_order_whatever_order_they_are_given_in() -> None:
    images, labels = make_images(10, 3)
    expected = in_order(images, labels)
    for seed in range(5):
        mixed = np.random.default_rng(seed).permutation(len(labels))
        made = build(train_images=images[mixed], train_labels=labels[mixed])
        np.testing.assert_array_equal(made.train_images, expected[0])
        np.testing.assert_array_equal(made.train_labels, expected[1])
        assert made.fingerprint == build(train_images=images, train_labels=labels).fingerprint


def test_fingerprint_is_not_of_memory_layout_or_names() -> None:
    other = build(
        train_images=np.asfortranarray(build().train_images),
        train_labels=build().train_labels.astype(">i8"),
        class_names=tuple("abcdefghij"),
    )
    assert other.fingerprint == build().fingerprint


@settings(deadline=None)
@given(st.data(), st.integers(1, 12), SEED)
def test_class_counts_differ_by_at_most_one(data: st.DataObject, classes: int, seed: int) -> None:
    sizes = data.draw(st.lists(st.integers(5, 20), min_size=classes, max_size=classes))
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(classes), sizes))
    n = data.draw(st.integers(1, classes * 5))
    indices = stratified_indices(labels, n, seed)
    counts = np.bincount(labels[indices], minlength=classes)
    assert len(indices) == n
    assert np.ptp(counts) <= 1
    assert (np.diff(indices) > 0).all()
    np.testing.assert_array_equal(indices, stratified_indices(labels, n, seed))


@settings(deadline=None)
@given(st.integers(1, 100), SEED)
def test_smaller_subset_lies_within_a_larger_one(n: int, seed: int) -> None:
    labels = np.arange(1000) % 10
    small, large = stratified_indices(labels, n, seed), stratified_indices(labels, n + 37, seed)
    assert set(small) <= set(large)


def test_seed_decides_which_images() -> None:
    labels = np.arange(100) % 10
    assert stratified_indices(labels, 20, 0).tolist() == SUBSET
    assert stratified_indices(labels, 20, 1).tolist() != SUBSET


def test_too_many_images_are_refused_with_the_largest_number() -> None:
    labels = np.array([0] * 5 + [1] * 3)
    with pytest.raises(UsageError, match=r"class 1 has 3 of the 4 needed\. Take at most 6"):
        stratified_indices(labels, 8, 0)


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
    assert noise_hash(corrupt(labels, 0.7, 10, 0)) == NOISE


def test_hash_is_of_values_not_of_their_layout() -> None:
    labels = np.arange(10)
    assert noise_hash(labels) == noise_hash(labels.astype(">i8")) == noise_hash(np.arange(20)[:10])
    assert noise_hash(labels) != noise_hash(labels[::-1])


def test_absent_class_has_no_frequencies() -> None:
    matrix = transition_matrix(np.array([0, 0]), np.array([0, 1]), 3)
    np.testing.assert_array_equal(matrix, [[0.5, 0.5, 0], [0, 0, 0], [0, 0, 0]])
