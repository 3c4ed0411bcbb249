"""The images and labels of one run: native set, first N, pooled, subset, corrupted labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from resbench.data.images import (
    Images,
    corrupt,
    downscale,
    noise_hash,
    stratified_indices,
    transition_matrix,
)
from resbench.errors import UsageError
from resbench.suite.spec import RunSpec, derive_seed

SUBSET_SEED = 0
"""Subsets are part of the data, not of a seed: every seed and arm sees the same images."""


@dataclass(frozen=True)
class Prepared:
    """Arrays of one run; images are uint8 [N, H, W, 3], labels int64 [N]."""

    train_images: np.ndarray
    train_labels: np.ndarray
    clean_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    test_rows: np.ndarray
    """Which images of the test split these are: int32 [N], positions in its canonical order."""
    num_classes: int
    fingerprint: str
    """Of the whole data set, before anything was selected."""
    noisy_labels: Callable[[int], np.ndarray]
    """Labels corrupted with a seed."""

    @property
    def noise(self) -> tuple[str | None, list[float] | None]:
        """Hash of the labels corrupted with the run's seed, and their transition matrix by row."""
        if np.array_equal(self.train_labels, self.clean_labels):
            return None, None
        matrix = transition_matrix(self.clean_labels, self.train_labels, self.num_classes)
        return noise_hash(self.train_labels), [round(float(x), 6) for x in matrix.ravel()]


def prepare_images(spec: RunSpec, images: Images) -> Prepared:
    """Select, pool and corrupt as the specification says.

    Raises:
        UsageError: more images are asked for than there are.
    """
    data = spec.data
    if data.first is not None and data.first > len(images.train_images):
        raise UsageError(
            f"data.first is {data.first}, but there are only {len(images.train_images)} training "
            "images."
        )
    train, labels = images.train_images[: data.first], images.train_labels[: data.first]
    test, test_labels = images.test_images, images.test_labels
    test_rows = np.arange(len(test), dtype=np.int32)
    if data.train_images is not None:
        index = _subset(labels, data.train_images, "train")
        train, labels = train[index], labels[index]
    if data.test_images is not None:
        index = _subset(test_labels, data.test_images, "test")
        test, test_labels, test_rows = test[index], test_labels[index], test_rows[index]
    if data.image_px is not None:
        train, test = downscale(train, data.image_px), downscale(test, data.image_px)
    if spec.training.val_in_train > len(train):
        raise UsageError(
            f"training.val_in_train is {spec.training.val_in_train}, but the run has only "
            f"{len(train)} training images."
        )
    noisy = partial(corrupt, labels, data.clean_ratio, images.num_classes)
    return Prepared(
        train_images=train,
        train_labels=noisy(derive_seed(spec.seed, "noise")) if data.clean_ratio < 1 else labels,
        clean_labels=labels,
        test_images=test,
        test_labels=test_labels,
        test_rows=test_rows,
        num_classes=images.num_classes,
        fingerprint=images.fingerprint,
        noisy_labels=noisy,
    )


def _subset(labels: np.ndarray, n: int, split: str) -> np.ndarray:
    return stratified_indices(labels, n, derive_seed(SUBSET_SEED, f"subset-{split}"))
