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


def still_falling(falls: Sequence[float], chance_variance: float) -> bool:
    """Whether the error was falling when training ended, beyond chance flips.

    ``falls`` has one number per run: the error at nine tenths of its epochs less the last one.
    Two evaluations of one run both flip, so that the variance of a fall is at most twice one's.
    """
    if not falls:
        return False
    fall = math.fsum(falls) / len(falls)
    return fall > 2 * math.sqrt(2 * chance_variance / len(falls))
