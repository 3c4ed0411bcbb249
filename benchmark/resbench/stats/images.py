"""Two arms on the same test images: would the order hold on images that nobody has seen?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resbench.stats import student
from resbench.stats.contrasts import Estimate


@dataclass(frozen=True)
class McNemar:
    """Two trained networks on the same images; it says nothing about other seeds."""

    b: int
    """Images that only A classified correctly."""
    c: int
    """Images that only B classified correctly."""
    p_b_worse: float
    """One-sided mid-p for "B errs more than A"; 0.5 at b = c."""

    @property
    def p_two_sided(self) -> float:
        """Mid-p for "they err differently often"."""
        return 2 * min(self.p_b_worse, 1 - self.p_b_worse)


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> McNemar:
    """Test whether two networks err equally often on the same images; both arrays are [images].

    McNemar 1947, as mid-p (Fagerland et al. 2013).
    """
    if correct_a.shape != correct_b.shape or correct_a.ndim != 1:
        raise ValueError(f"shapes {correct_a.shape} and {correct_b.shape} are not one [images]")
    from scipy import special

    b = int(np.count_nonzero(correct_a > correct_b))
    c = int(np.count_nonzero(correct_a < correct_b))
    # P(X > b) + P(X = b)/2, X binomial: by symmetry of the lower tail at c.
    at_most = float(special.bdtr(c, b + c, 0.5))
    below = float(special.bdtr(c - 1, b + c, 0.5)) if c else 0.0
    return McNemar(b, c, (at_most + below) / 2)


def other_images_p(
    estimate: Estimate, better: NDArray[np.bool_], worse: NDArray[np.bool_]
) -> float:
    """Return the one-sided p that ``worse`` errs more, for other seeds and other test images.

    The arrays are [runs, images], two runs or more each; ``estimate`` is the difference of their
    mean errors, whose spread between seeds is used as it stands. The variance between images is
    added to it, less the seeds' disagreement on each image, which is in the seeds' spread already
    (variance components of the crossed design; Owen 2007).
    """
    if better.ndim != 2 or worse.ndim != 2 or better.shape[1] != worse.shape[1]:
        raise ValueError(f"{better.shape} and {worse.shape} are not [runs, same images]")
    rates = [arm.mean(axis=0) for arm in (better, worse)]
    between = float((rates[0] - rates[1]).var())
    within = sum(
        float((rate * (1 - rate)).mean()) / (len(arm) - 1)
        for rate, arm in zip(rates, (better, worse), strict=True)
    )
    seeds = estimate.se**2
    total = seeds + 1e4 * max(0.0, between - within) / better.shape[1]
    df = estimate.df * (total / seeds) ** 2  # Satterthwaite: the images' part is known well
    return student.cdf(-estimate.effect / math.sqrt(total), df)
