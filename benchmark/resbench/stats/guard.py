"""Whether an arm has learnt: an order of arms halfway through training says little.

Errors are percent, differences percentage points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def guessing_error(classes: int) -> float:
    """Return the error of guessing among equally frequent classes; that of a diverged run too."""
    return 100 * (1 - 1 / classes)


def near_guessing(mean_error: float, classes: int) -> bool:
    """Whether an arm makes more than half the errors of guessing."""
    return mean_error > guessing_error(classes) / 2


def last_fall(errors: Sequence[float], guessing: float) -> float:
    """Return a run's fall over the last tenth of its epochs, at least one.

    Before its first epoch a network has the error of ``guessing``.
    """
    return [guessing, *errors][len(errors) * 9 // 10] - errors[-1]


def fall_limit(chance_variance: float, runs: int) -> float:
    """Return the fall, a mean over runs, that chance flips alone do not give.

    Two evaluations of one run both flip, so that the variance of a fall is at most twice one's.
    """
    return 2 * math.sqrt(2 * chance_variance / runs)


def still_falling(falls: Sequence[float], chance_variance: float) -> bool:
    """Whether the error of these runs was falling when training ended, beyond chance flips."""
    n = len(falls)
    return n > 0 and math.fsum(falls) / n > fall_limit(chance_variance, n)
