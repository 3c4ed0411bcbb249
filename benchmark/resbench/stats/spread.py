"""How far the runs of one arm spread: their own variance, with a prior of two degrees of freedom.

Three runs say little about a variance: a small one is often luck, and makes any difference look
large. The prior raises such a variance towards a reference: what chance flips of the test images
give, times how much more than that the suite's other arms typically spread. It never lowers one: an
arm that spreads five times as far as the others would be found different far too often
(tools/simulate.py measures both). Variances are squared percentage points of one run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
"""Below this seeds are strangers to their arm: 1 in 100 arms has some by chance."""
NO_CHANCE = 1e-12
"""Variance of a number that no images were counted for: the spread comes from other arms alone."""


@dataclass(frozen=True, eq=False)
class Arm:
    """The runs of one cell."""

    cell: str
    seeds: tuple[int, ...]
    """In the order in which looks take them."""
    errors: tuple[float, ...]
    """In percent, one per seed; of a diverged run the error of guessing."""
    images: float | None = None
    """How many images an error is a share of; None for a number that is no share of images."""
    diverged: frozenset[int] = frozenset()
    """Seeds."""
    kept: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict, repr=False)
    """By seed, whether each test image was classified correctly, where that was kept."""

    def __post_init__(self) -> None:
        if len({len(self.seeds), len(set(self.seeds)), len(self.errors)}) > 1:
            raise ValueError(f"{self.cell}: seeds {self.seeds} do not fit errors {self.errors}")

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
    def ended(self) -> dict[int, float]:
        """The errors of the runs that did not diverge, by seed."""
        pairs = zip(self.seeds, self.errors, strict=True)
        return {seed: error for seed, error in pairs if seed not in self.diverged}

    @cached_property
    def chance_variance(self) -> float:
        """The variance of one of these runs by chance flips of the images alone."""
        if self.images is None or not self.errors:
            return NO_CHANCE
        ended = self.ended
        rows = [self.kept[seed] for seed in ended if seed in self.kept]
        return flip_variance(list(ended.values()) or self.errors, self.images, rows)

    @property
    def correct(self) -> NDArray[np.bool_] | None:
        """[seeds, images], whether each was classified correctly; None unless all runs say it."""
        import numpy as np

        rows = [self.kept[seed] for seed in self.seeds if seed in self.kept]
        return np.stack(rows) if rows and len(rows) == self.n else None

    @property
    def ranked(self) -> tuple[tuple[bool, float], ...]:
        """What runs are ranked by: diverged ones come last."""
        pairs = zip(self.seeds, self.errors, strict=True)
        return tuple((seed in self.diverged, error) for seed, error in pairs)

    def only(self, seeds: Sequence[int]) -> Arm:
        """Return the runs of these seeds, of those that it has, in this order."""
        seeds = tuple(seed for seed in seeds if seed in self.seeds)
        errors = tuple(self.errors[self.seeds.index(seed)] for seed in seeds)
        return replace(self, seeds=seeds, errors=errors, diverged=self.diverged.intersection(seeds))


def sampling_sd(error: float, n_test: float) -> float:
    """Return the binomial sd of an error rate in percent on n_test images, in points.

    Counts one more error and one more success than were seen (Laplace), so that an error of 0 %
    or 100 % does not come out as known exactly.
    """
    rate = (error / 100 * n_test + 1) / (n_test + 2)
    return 100 * math.sqrt(rate * (1 - rate) / n_test)


def flip_variance(
    errors: Sequence[float],
    n_test: float,
    correct: Sequence[NDArray[np.bool_]] | NDArray[np.bool_] = (),
) -> float:
    """Return the variance of a run's error if every test image flipped by itself.

    From what runs got ``correct``, each image's own variance over two runs or more; else, or where
    no image ever flips, binomial, which is larger as it takes all images to be alike.
    """
    if (n := len(correct)) > 1:
        # For 0/1 values the variance (n - 1) is n/(n-1) p(1-p): one pass over the images.
        import numpy as np

        p = np.mean(correct, axis=0)
        flips = 1e4 * float((p * (1 - p)).sum()) * n / (n - 1) / p.size**2
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


def strangers(arm: Arm, reference: float) -> list[float]:
    """Return by how many points seeds lie off the mean of the others, where that is too far.

    Of those that did not diverge: the most, fewer than half, that are all too far together. One by
    one, each would hide the others.
    """
    errors = sorted(arm.ended.values())
    middle = median(errors) if errors else 0.0
    by_distance = sorted(errors, key=lambda error: abs(error - middle))
    most = (len(errors) - 1) // 2
    for apart in range(most, 0, -1):
        rest = by_distance[:-apart]
        mean, sd = summarise(rest)
        variance, df = moderated(sd**2, len(rest), reference)
        distances = [error - mean for error in by_distance[-apart:]]
        t = min(map(abs, distances)) / math.sqrt(variance * (1 + 1 / len(rest)))
        if 2 * cdf(-t, df) * len(errors) * most < STRANGER_P:
            return distances
    return []


def hidden_shift(arm: Arm, others: Sequence[Arm], *, better: bool) -> float:
    """Return by how many points seeds that an arm's runs did not show may move its mean.

    0 unless an arm of its kind has strangers, one of ``others`` that shares a level with it. Then
    as many seeds like the farthest of them as its own runs leave possible at 95 %. A ``better`` arm
    is suspected of whatever strangers there are, a worse one only of those that err less.
    """
    levels = set(arm.cell.split("/"))
    worst = 0.0
    for other in others:
        if levels & set(other.cell.split("/")):
            rest = (a for a in others if a is not other)
            reference = reference_variance(other.chance_variance, rest)
            found = strangers(other, reference)
            worst = max([worst, *(abs(d) if better else -d for d in found)])
    return worst * (1 - 0.05 ** (1 / arm.n))
