"""A data set in memory: its order, its fingerprint, subsets of it, and label noise."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from resbench.errors import UsageError

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]


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
        lines = []
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            rows = zip(labels, images, strict=True)
            digests = [hashlib.sha256(bytes([k]) + image.tobytes()).digest() for k, image in rows]
            order = sorted(range(len(digests)), key=digests.__getitem__)
            if order != list(range(len(order))):
                object.__setattr__(self, f"{split}_images", images[order])
                object.__setattr__(self, f"{split}_labels", labels[order])
            # A split's digest is the sha256 of its images' digests in order.
            whole = hashlib.sha256(b"".join(digests[row] for row in order)).hexdigest()
            lines.append(f"{split} {list(images.shape)} {whole}")
        text = "\n".join([*lines, f"{self.num_classes} classes"])
        object.__setattr__(self, "fingerprint", hashlib.sha256(text.encode()).hexdigest())


def downscale(images: UInt8Array, px: int) -> UInt8Array:
    """Average-pool ``[N, H, H, 3]`` images to ``[N, px, px, 3]``, rounding half to even.

    ``px`` divides H: specifications are checked (:func:`resbench.data.fit.check_fit`).
    """
    count, side = images.shape[:2]
    blocks = images.reshape(count, px, side // px, px, side // px, 3)
    return np.rint(blocks.mean(axis=(2, 4), dtype=np.float64)).astype(np.uint8)


def stratified_indices(labels: Int64Array, n: int, seed: int) -> Int64Array:
    """Return ``n`` sorted indices into ``labels`` whose class counts differ by at most one.

    With one seed, a smaller subset is part of a larger one. Raises UsageError if a class has too
    few images.
    """
    classes, counts = np.unique(labels, return_counts=True)
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


def corrupt(labels: Int64Array, clean_ratio: float, num_classes: int, seed: int) -> Int64Array:
    """Return labels drawn with ``Q_ii = r`` and ``Q_ij = (1 - r) / (C - 1)`` per label.

    ``r`` is ``clean_ratio`` and ``C`` is ``num_classes``: the label noise of Wang et al. 2017,
    section 4.1, after Sukhbaatar et al., arXiv:1406.2080. The draw depends only on the arguments.
    With one seed, the labels corrupted at a higher r are also corrupted at a lower one.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    flipped = random.random(len(labels)) >= clean_ratio
    offset = random.integers(1, num_classes, len(labels))
    return np.where(flipped, (labels + offset) % num_classes, labels)


def noise_hash(labels: Int64Array) -> str:
    """Return 64 hex digits: sha256 of the labels, to store with a run."""
    return hashlib.sha256(np.ascontiguousarray(labels, dtype="<i8").data).hexdigest()


def transition_matrix(
    clean: Int64Array, noisy: Int64Array, num_classes: int
) -> npt.NDArray[np.float64]:
    """Return the observed ``Q`` ``[C, C]``: row i has the shares of the noisy labels of class i.

    The row of a class without images is zero.
    """
    pairs = np.bincount(clean * num_classes + noisy, minlength=num_classes**2)
    counts = pairs.reshape(num_classes, num_classes).astype(np.float64)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
