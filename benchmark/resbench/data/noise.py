"""Label noise (Wang et al. 2017, section 4.1, after Sukhbaatar et al., arXiv:1406.2080)."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from resbench.data.images import Int64Array


def corrupt(labels: Int64Array, clean_ratio: float, num_classes: int, seed: int) -> Int64Array:
    """Return labels drawn with ``Q_ii = r`` and ``Q_ij = (1 - r) / (C - 1)`` per label.

    ``r`` is ``clean_ratio`` and ``C`` is ``num_classes``. The draw depends only on the arguments.
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
