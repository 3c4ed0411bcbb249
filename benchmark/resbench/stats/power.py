"""What a contrast can detect, and the look it would take.

Differences and sds are percentage points; `sd` is the contrast's at one run per arm, `weights` are
those of its arms, which spread alike. Tests are one-sided, at alpha divided by the number of looks.
The power is that of the test itself, averaged over the spreads that the runs may show, for arms
that spread as their reference says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from resbench.stats.multiplicity import LOOKS
from resbench.stats.spread import moderated

if TYPE_CHECKING:  # `plan` and `validate` start without numpy
    import numpy as np
    from numpy.typing import NDArray

MIN_SEEDS = LOOKS[0]
POWER = 0.8
STUDIES = 8192
"""Sets of spreads that power is averaged over: it is known to 0.002."""


def detectable(
    n: int, sd: float, weights: Sequence[float], *, alpha: float = 0.05, power: float = POWER
) -> float:
    """Return the smallest true difference that `n` runs per arm find with probability `power`.

    Infinite below the first look, or for an sd that is not positive.
    """
    look = max((look for look in LOOKS if look <= n), default=0)
    if not look or not _usable(sd):
        return math.inf
    low, high = 0.0, sd
    while _found(high, look, sd, weights, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        if _found(middle, look, sd, weights, alpha) < power:
            low = middle
        else:
            high = middle
    return high


def first_look(
    delta: float, sd: float, weights: Sequence[float], *, alpha: float, tests: int = 1
) -> int | None:
    """Return the first look that finds a true difference `delta` in all ``tests`` of a claim.

    With probability POWER at least; None where none does, or delta or sd is not positive.
    """
    if not (_usable(sd) and _usable(delta)):
        return None
    power = per_test_power(tests)
    return next((n for n in LOOKS if _found(delta, n, sd, weights, alpha) >= power), None)


def per_test_power(tests: int) -> float:
    """Return the power of each of several tests by which all of them reject with POWER at least."""
    return 1 - (1 - POWER) / tests


def _found(delta: float, n: int, sd: float, weights: Sequence[float], alpha: float) -> float:
    from scipy import special

    parts = tuple(w * w for w in weights if w)  # the middle of three gaps weighs nothing
    hurdles = _hurdles(n, parts, alpha / len(LOOKS))
    return float(special.ndtr(delta * math.sqrt(n) / sd - hurdles).mean())


@lru_cache
def _hurdles(n: int, parts: tuple[float, ...], alpha: float) -> NDArray[np.float64]:
    """Return what a contrast must exceed, in its true standard errors, for many possible spreads.

    ``parts`` are the arms' squared weights. Each arm's variance is drawn evenly from its chi-square
    distribution, then moderated as in the test itself, with a reference that is right.
    """
    import numpy as np
    from scipy import special

    even = (np.arange(STUDIES) + 0.5) / STUDIES
    shares = np.random.default_rng(0).permuted(np.tile(even, (len(parts), 1)), axis=1)
    measured = special.chdtri(n - 1, shares) / (n - 1)
    variance, df = np.vectorize(moderated)(measured, n, 1.0)
    variance *= np.reshape(parts, (-1, 1))
    total = variance.sum(axis=0)
    critical = special.stdtrit(total**2 / (variance**2 / df).sum(axis=0), 1 - alpha)
    return np.asarray(critical * np.sqrt(total / math.fsum(parts)))


def _usable(value: float) -> bool:
    return math.isfinite(value) and value > 0
