"""What a contrast can detect, and the seeds it would take: the noncentral t distribution.

Differences and sds are percentage points; `sd` is the contrast's at one seed per arm. Tests are
one-sided. With nothing measured yet the caller gives a guess of the sd and says so.
"""

from __future__ import annotations

import bisect
import math

from resbench.stats import student

MIN_SEEDS = 3
"""Two seeds leave one degree of freedom: the test then rests on normality alone, unchecked."""
POWER = 0.8
MOST_SEEDS = 100
"""More than this is reported as None: no budget pays for it."""


def minimum_detectable_difference(
    n: int, sd: float, groups: int, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the smallest true difference that `n` seeds per arm find with probability `power`.

    `groups` is 1 when the arms are paired by seed, else the number of arms. Infinite where nothing
    can be found or known: fewer than two seeds, or an sd that is not positive and finite.
    """
    if n < 2 or not _usable(sd):
        return math.inf
    from scipy import special

    df = groups * (n - 1)
    ncp = float(special.nctdtrinc(df, 1 - power, student.quantile(1 - alpha, df)))
    return ncp * sd / math.sqrt(n)


def seeds_for_contrast(
    delta: float, sd: float, groups: int, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Return the seeds per arm that find a true difference `delta` with probability `power`.

    None when more than MOST_SEEDS, or when delta or sd is not positive and finite.
    """
    if not (_usable(sd) and _usable(delta)):
        return None

    def reached(n: int) -> float:
        return detection_power(delta * math.sqrt(n) / sd, groups * (n - 1), alpha)

    candidates = range(2, MOST_SEEDS + 1)
    position = bisect.bisect_left(candidates, power, key=reached)
    return candidates[position] if position < len(candidates) else None


def per_test_power(tests: int) -> float:
    """Return the power of each of several tests by which all of them reject with POWER at least."""
    return 1 - (1 - POWER) / tests


def seeds_to_decide(
    delta: float, sd: float, groups: int, *, alpha: float, tests: int
) -> int | None:
    """Return the seeds per arm at which all ``tests`` of a claim reject with POWER at least."""
    power = per_test_power(tests)
    seeds = seeds_for_contrast(delta, sd, groups, alpha=alpha, power=power)
    return None if seeds is None else max(MIN_SEEDS, seeds)


def detection_power(ncp: float, df: float, alpha: float) -> float:
    """Return the probability that a t-test at alpha rejects, `ncp` = true difference / its se."""
    from scipy import special

    missed = float(special.nctdtr(df, ncp, student.quantile(1 - alpha, df)))
    return 1.0 if math.isnan(missed) else 1.0 - missed  # NaN where it underflows


def _usable(value: float) -> bool:
    return math.isfinite(value) and value > 0
