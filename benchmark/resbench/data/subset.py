"""Seeded stratified subsets."""

from __future__ import annotations

import numpy as np

from resbench.data.images import Int64Array
from resbench.errors import UsageError


def stratified_indices(labels: Int64Array, n: int, seed: int) -> Int64Array:
    """Return ``n`` sorted indices into ``labels`` whose class counts differ by at most one.

    At one seed a smaller subset lies within a larger one. Raises UsageError where a class has too
    few images for that.
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
                f"{wanted} needed. At most {len(classes) * counts.min()} can be had."
            )
        picked.append(members[:wanted])
    return np.sort(np.concatenate(picked))
