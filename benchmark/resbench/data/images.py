"""A data set in memory, its fingerprint, and the checks that every loader shares."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from resbench.errors import EnvironmentFault, UsageError

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
Part = tuple[UInt8Array, Int64Array]
"""Images and labels of one file."""


@dataclass(frozen=True, eq=False)
class Images:
    """All images of a data set as RGB, rows in the order of its files.

    Shapes: images uint8 ``[N, H, W, 3]``, labels int64 ``[N]`` in ``0 .. num_classes - 1``.
    """

    train_images: UInt8Array
    train_labels: Int64Array
    test_images: UInt8Array
    test_labels: Int64Array
    num_classes: int
    class_names: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """64 hex digits: sha256 of shapes, pixels and labels, train before test."""
        digest = hashlib.sha256()
        for images, labels in (
            (self.train_images, self.train_labels),
            (self.test_images, self.test_labels),
        ):
            digest.update(f"{images.shape}{labels.shape}".encode())
            digest.update(np.ascontiguousarray(images, dtype="|u1").data)
            digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
        return digest.hexdigest()


def check_labels(labels: Int64Array, num_classes: int, place: str) -> None:
    """Raise EnvironmentFault, naming ``place`` and the row, where a label is out of range."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        row = int(wrong[0])
        raise EnvironmentFault(
            f"{place}: row {row}: label {labels[row]} is outside 0..{num_classes - 1}. "
            "Is this another data set?"
        )


def join_parts(
    place: str,
    train: Sequence[Part],
    test: Sequence[Part],
    class_names: tuple[str, ...],
    classes: int,
) -> Images:
    """Join images and labels read from several files, in their order.

    Raises EnvironmentFault, naming ``place``, unless both splits have images and the training
    images show every one of ``classes``.
    """
    images = Images(
        train_images=np.concatenate([part[0] for part in train]),
        train_labels=np.concatenate([part[1] for part in train]),
        test_images=np.concatenate([part[0] for part in test]),
        test_labels=np.concatenate([part[1] for part in test]),
        num_classes=classes,
        class_names=class_names,
    )
    for split, labels in (("training", images.train_labels), ("test", images.test_labels)):
        if not labels.size:
            raise EnvironmentFault(f"{place}: no {split} images.")
    present = np.unique(images.train_labels).size
    if present != classes or len(class_names) != classes:
        raise EnvironmentFault(
            f"{place}: {present} classes among the training images and {len(class_names)} class "
            f"names, expected {classes} of both. Is this another data set?"
        )
    return images


def downscale(images: UInt8Array, px: int) -> UInt8Array:
    """Average-pool ``[N, H, H, 3]`` images to ``[N, px, px, 3]``, rounding half to even.

    Raises UsageError where ``px`` does not divide H.
    """
    count, side = images.shape[:2]
    if px < 1 or side % px:
        raise UsageError(f"image_px: {px} does not divide the images' {side} px.")
    factor = side // px
    if factor == 1:
        return images
    blocks = images.reshape(count, px, factor, px, factor, 3)
    total = blocks.sum(axis=(2, 4), dtype=np.uint32)
    quotient, rest = np.divmod(total, np.uint32(factor**2))
    up = (2 * rest > factor**2) | ((2 * rest == factor**2) & (quotient % 2 == 1))
    return (quotient + up).astype(np.uint8)
