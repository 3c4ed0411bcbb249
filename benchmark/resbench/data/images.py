"""A data set in memory: its order, its fingerprint, its checks, and subsets of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from resbench.errors import EnvironmentFault, UsageError

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
Part = tuple[UInt8Array, Int64Array]
"""Images and labels of one file."""


@dataclass(frozen=True, eq=False)
class Images:
    """All images of a data set as RGB, each split in its canonical order.

    Shapes: images uint8 ``[N, H, W, 3]``, labels int64 ``[N]`` in ``0 .. num_classes - 1``.

    The order of rows differs between containers of the same data set, but subsets, label noise and
    batches are drawn by position. So rows are always sorted by digest: sha256 of the label as one
    byte and the pixels, row by row.
    """

    train_images: UInt8Array
    train_labels: Int64Array
    test_images: UInt8Array
    test_labels: Int64Array
    num_classes: int
    class_names: tuple[str, ...]
    fingerprint: str = field(init=False)
    """64 hex digits: sha256 of both splits' digests and shapes, and the number of classes."""

    def __post_init__(self) -> None:
        splits = []
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            digests = _digests(images, labels)
            order = sorted(range(len(digests)), key=digests.__getitem__)
            if order != list(range(len(order))):
                object.__setattr__(self, f"{split}_images", images[order])
                object.__setattr__(self, f"{split}_labels", labels[order])
            # A split's digest is the sha256 of its images' digests in order.
            whole = hashlib.sha256(b"".join(digests[row] for row in order)).hexdigest()
            splits.append(f"{split} {list(images.shape)} {whole}")
        text = "\n".join([*splits, f"{self.num_classes} classes"])
        object.__setattr__(self, "fingerprint", hashlib.sha256(text.encode()).hexdigest())


def _digests(images: UInt8Array, labels: Int64Array) -> list[bytes]:
    """Return what orders and identifies each row: sha256 of label byte and pixels."""
    digests: list[bytes] = []
    for start in range(0, len(labels), 1000):  # bounds the memory
        part = slice(start, start + 1000)
        pixels = images[part].reshape(len(labels[part]), -1)
        rows = np.concatenate([labels[part, None].astype(np.uint8), pixels], axis=1)
        digests += [hashlib.sha256(row).digest() for row in rows]
    return digests


def check_labels(labels: Int64Array, num_classes: int, where: str) -> None:
    """Raise EnvironmentFault with ``where`` and the row if a label is out of range."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        row = int(wrong[0])
        raise EnvironmentFault(
            f"{where}: row {row}: label {labels[row]} is outside 0..{num_classes - 1}. "
            "Is this another data set?"
        )


def join_parts(
    where: str,
    train: Sequence[Part],
    test: Sequence[Part],
    class_names: tuple[str, ...],
    classes: int,
) -> Images:
    """Join images and labels of several files, in their order.

    Raises EnvironmentFault with ``where`` unless both splits have images and every one of
    ``classes`` is among the training images.
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
            raise EnvironmentFault(f"{where}: no {split} images.")
    present = np.unique(images.train_labels).size
    if present != classes or len(class_names) != classes:
        raise EnvironmentFault(
            f"{where}: {present} classes among the training images and {len(class_names)} class "
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


def stratified_indices(labels: Int64Array, n: int, seed: int) -> Int64Array:
    """Return ``n`` sorted indices into ``labels`` whose class counts differ by at most one.

    With one seed, a smaller subset is part of a larger one. Raises UsageError if a class has too
    few images.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if n < 1:
        raise UsageError(f"a subset of {n} images: expected at least 1.")
    random = np.random.Generator(np.random.PCG64(seed))
    quota, rest = divmod(n, len(classes))
    picked = []
    for rank, label in enumerate(random.permutation(classes)):
        wanted = quota + (rank < rest)
        members = random.permutation(np.flatnonzero(labels == label))
        if wanted > len(members):
            raise UsageError(
                f"a stratified subset of {n} images: class {label} has {len(members)} of the "
                f"{wanted} needed. Take at most {len(classes) * counts.min()}."
            )
        picked.append(members[:wanted])
    return np.sort(np.concatenate(picked))
