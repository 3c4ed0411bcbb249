"""How far the runs of one arm spread: their own variance, with a prior of two degrees of freedom.

Three runs say little about a variance: a small one is often luck, and makes any difference look
large. The prior raises such a variance towards a reference: what chance flips of the test images
give, times how much more than that the suite's other arms typically spread. It never lowers one: an
arm that spreads five times as far as the others would be found different far too often
(tools/simulate.py measures both). Variances are squared percentage points of one run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING

from resbench.stats.textbook import cdf, summarise

if TYPE_CHECKING:  # `plan` and `validate` start without numpy
    import numpy as np
    from numpy.typing import NDArray

USUAL_SD_PP = 0.2
"""Between seeds of CIFAR networks at the paper's schedule, until one is measured."""
PRIOR_DF = 2.0
FADE = 4
"""How fast the prior fades above the reference: at twice the reference 2 degrees are 1/8."""
STRANGER_P = 0.01
"""Below this a seed is a stranger to its arm: 1 in 100 arms has one by chance."""


@dataclass(frozen=True, eq=False)
class Arm:
    """The runs of one cell."""

    cell: str
    seeds: tuple[int, ...]
    """In the order in which looks take them."""
    errors: tuple[float, ...]
    """In percent, one per seed; of a diverged run the error of guessing."""
    chance_variance: float
    """Of one run, by chance flips of the test images alone: see `chance_variance`."""
    diverged: frozenset[int] = frozenset()
    """Seeds."""
    correct: NDArray[np.bool_] | None = None
    """[seeds, images], whether each test image was classified correctly; None if not kept."""

    def __post_init__(self) -> None:
        lengths = {len(self.seeds), len(set(self.seeds)), len(self.errors)}
        if self.correct is not None:
            lengths.add(len(self.correct))
        if len(lengths) > 1:
            raise ValueError(f"{self.cell}: seeds {self.seeds} do not fit the other parts")

    @property
    def n(self) -> int:
        """Number of runs."""
        return len(self.seeds)

    @cached_property
    def mean(self) -> float:
        """Mean error in percent; NaN without runs."""
        return summarise(self.errors).mean

    @cached_property
    def variance(self) -> float:
        """Measured variance between runs; NaN below two."""
        return summarise(self.errors).sd ** 2

    @property
    def ranked(self) -> tuple[tuple[bool, float], ...]:
        """What runs are ranked by: diverged ones come last."""
        pairs = zip(self.seeds, self.errors, strict=True)
        return tuple((seed in self.diverged, error) for seed, error in pairs)

    def only(self, seeds: Sequence[int]) -> Arm:
        """Return the runs of these seeds, of those that it has, in this order."""
        seeds = tuple(seed for seed in seeds if seed in self.seeds)
        rows = [self.seeds.index(seed) for seed in seeds]
        errors = tuple(self.errors[row] for row in rows)
        correct, chance = None, self.chance_variance
        if rows and self.correct is not None:
            correct = self.correct[rows]
            chance = chance_variance(errors, correct.shape[1], correct)
        return Arm(self.cell, seeds, errors, chance, self.diverged.intersection(seeds), correct)


def sampling_sd(error: float, n_test: int) -> float:
    """Return the binomial sd of an error rate in percent on n_test images, in points.

    Counts one more error and one more success than were seen (Laplace), so that an error of 0 %
    or 100 % does not come out as known exactly.
    """
    rate = (error / 100 * n_test + 1) / (n_test + 2)
    return 100 * math.sqrt(rate * (1 - rate) / n_test)


def chance_variance(
    errors: Sequence[float], n_test: int, correct: NDArray[np.bool_] | None = None
) -> float:
    """Return the variance of a run's error if every test image flipped by itself.

    From the predictions [runs, images], each image's own variance over two runs or more; else, or
    where no image ever flips, binomial, which is larger as it takes all images to be alike.
    """
    if correct is not None and len(correct) > 1:
        # For 0/1 values the variance (n - 1) is n/(n-1) p(1-p): one pass over the images.
        n, p = len(correct), correct.mean(axis=0)
        flips = 1e4 * float((p * (1 - p)).sum()) * n / (n - 1) / correct.shape[1] ** 2
        if flips > 0:
            return flips
    return sampling_sd(math.fsum(errors) / len(errors), n_test) ** 2


def reference_variance(chance: float, others: Iterable[Arm]) -> float:
    """Return the variance that an arm with this chance variance is expected to have at least.

    ``others`` are the suite's arms outside the contrast: an estimate independent of it.
    """
    even = (arm for arm in others if arm.n > 1 and not arm.diverged)
    ratios = [arm.variance / arm.chance_variance for arm in even]
    return chance * max(1.0, median(ratios)) if ratios else chance


def moderated(variance: float, n: int, reference: float) -> tuple[float, float]:
    """Return an arm's variance with the prior, and its degrees of freedom.

    Below the reference the prior counts in full; above, the measured variance stands and the
    prior's degrees of freedom fade.
    """
    raised = (PRIOR_DF * reference + (n - 1) * variance) / (PRIOR_DF + n - 1)
    fade = 1.0 if variance <= reference else (reference / variance) ** FADE
    return max(variance, raised), n - 1 + PRIOR_DF * fade


def uneven(arm: Arm, reference: float) -> bool:
    """Whether a run diverged, or one seed lies too far from the others for a t-test of means."""
    return bool(arm.diverged) or stranger(arm, reference) != 0


def stranger(arm: Arm, reference: float) -> float:
    """Return by how many points a seed lies off the mean of the others; 0 if it is no stranger.

    The farthest of those that did not diverge.
    """
    errors = [error for diverged, error in arm.ranked if not diverged]
    if len(errors) < 3:
        return 0.0
    mean = summarise(errors).mean
    # Without the farthest seed the others spread least, so that no other seed has a smaller p.
    farthest = max(range(len(errors)), key=lambda i: abs(errors[i] - mean))
    rest = summarise(errors[:farthest] + errors[farthest + 1 :])
    n = len(errors) - 1
    variance, df = moderated(rest.sd**2, n, reference)
    distance = abs(errors[farthest] - rest.mean)
    t = distance / math.sqrt(variance * (1 + 1 / n))
    return distance if 2 * cdf(-t, df) * len(errors) < STRANGER_P else 0.0


def hidden_loss(arm: Arm, others: Sequence[Arm]) -> float:
    """Return how many points an arm's mean may lose by failures that its runs did not show.

    0 unless an arm of its kind has a stranger, one of ``others`` that shares a level with it. Then
    as many failures of that size as its own runs leave possible at 95 %.
    """
    levels = set(arm.cell.split("/"))
    worst = 0.0
    for other in others:
        if levels & set(other.cell.split("/")):
            rest = (a for a in others if a is not other)
            worst = max(worst, stranger(other, reference_variance(other.chance_variance, rest)))
    return worst * (1 - 0.05 ** (1 / arm.n))
