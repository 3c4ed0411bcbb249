import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resbench.data.subset import stratified_indices
from resbench.errors import UsageError

GOLDEN = [5, 9, 10, 17, 24, 27, 29, 31, 42, 43, 46, 52, 56, 58, 60, 63, 65, 68, 71, 94]
SEED = st.integers(0, 2**63 - 1)


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
    assert stratified_indices(labels, 20, 0).tolist() == GOLDEN
    assert stratified_indices(labels, 20, 1).tolist() != GOLDEN


def test_whole_balanced_set_is_a_subset_of_itself() -> None:
    labels = np.arange(50) % 10
    np.testing.assert_array_equal(stratified_indices(labels, 50, 3), np.arange(50))


def test_too_many_images_are_refused_with_the_largest_number() -> None:
    labels = np.array([0] * 5 + [1] * 3)
    with pytest.raises(UsageError, match=r"class 1 has 3 of the 4 needed\. At most 6 can be had"):
        stratified_indices(labels, 8, 0)
    with pytest.raises(UsageError, match="a subset of 0 images: expected at least 1"):
        stratified_indices(labels, 0, 0)
