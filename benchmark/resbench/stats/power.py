"""What a contrast can detect, and the look it would take: the noncentral t distribution.

Differences and sds are percentage points; `sd` is the contrast's at one run per arm. Tests are
one-sided, at alpha divided by the number of looks. An arm of n runs counts n - 1 degrees of
freedom: what the prior adds, the spreads that it raises take away. In simulation a power of 0.8 is
0.74 to 0.79 where arms spread as their reference says.
"""

from __future__ import annotations

import math

from resbench.stats import student
from resbench.stats.multiplicity import LOOKS

MIN_SEEDS = LOOKS[0]
POWER = 0.8


def detectable(n: int, sd: float, arms: int, *, alpha: float = 0.05, power: float = POWER) -> float:
    """Return the smallest true difference that `n` runs per arm find with probability `power`.

    Solved to 1e-9 of itself. Infinite below the first look, or for an sd that is not positive.
    """
    look = max((look for look in LOOKS if look <= n), default=0)
    if not look or not _usable(sd):
        return math.inf
    low, high = 0.0, sd
    while _found(high, look, sd, arms, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        if _found(middle, look, sd, arms, alpha) < power:
            low = middle
        else:
            high = middle
    return high


def first_look(delta: float, sd: float, arms: int, *, alpha: float, tests: int = 1) -> int | None:
    """Return the first look that finds a true difference `delta` in all ``tests`` of a claim.

    With probability POWER at least; None where none does, or delta or sd is not positive.
    """
    if not (_usable(sd) and _usable(delta)):
        return None
    power = per_test_power(tests)
    reached = (n for n in LOOKS if _found(delta, n, sd, arms, alpha) >= power)
    return next(reached, None)


def per_test_power(tests: int) -> float:
    """Return the power of each of several tests by which all of them reject with POWER at least."""
    return 1 - (1 - POWER) / tests


def detection_power(ncp: float, df: float, alpha: float) -> float:
    """Return the probability that a t-test at alpha rejects, `ncp` = true difference / its se."""
    from scipy import special

    missed = float(special.nctdtr(df, ncp, student.quantile(1 - alpha, df)))
    return 1.0 if math.isnan(missed) else 1.0 - missed  # NaN where it underflows


def _found(delta: float, n: int, sd: float, arms: int, alpha: float) -> float:
    return detection_power(delta * math.sqrt(n) / sd, arms * (n - 1), alpha / len(LOOKS))


def _usable(value: float) -> bool:
    return math.isfinite(value) and value > 0
