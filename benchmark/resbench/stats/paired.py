"""Two arms on the same test images: McNemar's test and the (seed, image) bootstrap."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resbench.stats.contrasts import contrast
from resbench.stats.intervals import Interval


@dataclass(frozen=True)
class McNemar:
    """Two trained networks on the same images; it says nothing about other seeds."""

    b: int
    """Images that only A classified correctly."""
    c: int
    """Images that only B classified correctly."""
    p_mid: float
    """Two-sided."""


@dataclass(frozen=True)
class BootstrapDifference:
    """error(B) - error(A) in percentage points, for other seeds and other test images."""

    mean: float
    interval: Interval
    p_two_sided: float
    p_b_worse: float
    """One-sided, for "B errs more than A"."""


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> McNemar:
    """Test whether two networks err equally often on the same images; both arrays are [images].

    The p-value is McNemar's (1947) as mid-p (Fagerland et al. 2013, supplement, Eq. 2); 1 without
    a discordant image.
    """
    if correct_a.shape != correct_b.shape or correct_a.ndim != 1:
        raise ValueError(f"shapes {correct_a.shape} and {correct_b.shape} are not one [images]")
    b = int(np.count_nonzero(correct_a > correct_b))
    c = int(np.count_nonzero(correct_a < correct_b))
    if b + c == 0:
        return McNemar(b, c, 1.0)
    from scipy import special  # scipy.stats takes it from there too, and a second to import

    fewer = min(b, c)
    at_most = float(special.bdtr(fewer, b + c, 0.5))
    below = float(special.bdtr(fewer - 1, b + c, 0.5)) if fewer else 0.0
    # The two-sided p less the probability of what was seen, which b == c has on one side only.
    return McNemar(b, c, 1 - (at_most - below) / 2 if b == c else at_most + below)


def hierarchical_bootstrap(
    correct_a: NDArray[np.bool_],
    correct_b: NDArray[np.bool_],
    *,
    paired_seeds: bool,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> BootstrapDifference:
    """Bootstrap error(B) - error(A) over seeds and images; the arrays are [seeds, images].

    The images are crossed with the seeds, so one draw of images serves all runs of a resample.
    They are resampled with replacement. The seeds cannot be: three of them give ten distinct
    resamples, and no percentile of these covers. Their part is drawn from the t distribution of
    the seed-level contrast instead. The seeds' disagreement on an image is in both parts, so it is
    taken out of the image part (variance components of the crossed design; Owen 2007 shows that
    plain resampling counts it three times). With one seed in an arm the interval covers the
    images only, and says so. Raises ValueError when the arrays do not match.
    """
    if correct_a.ndim != 2 or correct_b.ndim != 2 or correct_a.shape[1] != correct_b.shape[1]:
        raise ValueError(f"{correct_a.shape} and {correct_b.shape} are not [seeds, same images]")
    if paired_seeds and len(correct_a) != len(correct_b):
        raise ValueError(f"{len(correct_a)} and {len(correct_b)} seeds cannot be paired")
    if not correct_a.size or not correct_b.size:
        nothing = Interval(-math.inf, math.inf, level, "no runs or no images")
        return BootstrapDifference(math.nan, nothing, math.nan, math.nan)
    wrong_a, wrong_b = correct_a == 0, correct_b == 0  # 0/1 integers are welcome too
    n_images = wrong_a.shape[1]
    estimate = contrast(
        [100 * wrong_a.mean(axis=1), 100 * wrong_b.mean(axis=1)],
        (-1, 1),
        paired=paired_seeds,
        n_test=n_images,
    )
    rng = np.random.default_rng(seed)
    # An image matters only through its count of errors per arm: draw the few distinct counts.
    score = len(wrong_a) * wrong_b.sum(axis=0) - len(wrong_b) * wrong_a.sum(axis=0)
    values, counts = np.unique(score, return_counts=True)
    unit = 100 / (len(wrong_a) * len(wrong_b))
    drawn = rng.multinomial(n_images, counts / n_images, size=resamples) @ values * unit / n_images
    image_part = drawn - estimate.effect
    reason = "one seed in an arm: covers other test images, not other seeds"
    if math.isfinite(estimate.se):
        share = _image_share(wrong_a, wrong_b, paired_seeds)
        seed_part = estimate.se * rng.standard_t(estimate.df, resamples)
        image_part = math.sqrt(share) * image_part + seed_part
        reason = estimate.reason
    differences = estimate.effect + image_part
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    p_worse = (1 + np.count_nonzero(differences <= 0)) / (resamples + 1)
    p_better = (1 + np.count_nonzero(differences >= 0)) / (resamples + 1)
    return BootstrapDifference(
        estimate.effect,
        Interval(float(low), float(high), level, reason),
        float(min(1, 2 * min(p_worse, p_better))),
        float(p_worse),
    )


def _image_share(wrong_a: NDArray[np.bool_], wrong_b: NDArray[np.bool_], paired: bool) -> float:
    """Return the share of the variance between images that the seeds' disagreement leaves."""
    arms = [np.subtract(wrong_b, wrong_a, dtype=float)] if paired else [wrong_a, wrong_b]
    within = sum(float(arm.var(axis=0, ddof=1).mean()) / len(arm) for arm in arms)
    between = float((wrong_b.mean(axis=0) - wrong_a.mean(axis=0)).var())
    return max(0.0, 1 - within / between) if between > 0 else 0.0
