"""What a comparison can detect, and the seeds it would take: the noncentral t distribution.

Differences and sds are percentage points. `sd` is that of one arm's errors between seeds, or,
when paired, that of the per-seed differences. With nothing measured yet the caller gives a guess
and says so.
"""

from __future__ import annotations

import bisect
import math

MOST_SEEDS = 100
"""More than this is reported as None: no budget pays for it."""


def minimum_detectable_difference(
    n_a: int,
    n_b: int,
    sd: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    paired: bool = False,
    one_sided: bool = True,
) -> float:
    """Return the smallest true difference that is found with probability `power`.

    Infinite where nothing can be found or known: fewer than two seeds in an arm, or an sd that is
    not positive and finite.
    """
    n = min(n_a, n_b)
    if n < 2 or not _usable(sd):
        return math.inf
    df = n - 1 if paired else n_a + n_b - 2
    se = sd * math.sqrt(1 / n if paired else 1 / n_a + 1 / n_b)
    from scipy import optimize, stats

    # Power passes any usual target well before this many standard errors.
    most = 10 + 10 * float(stats.t.isf(alpha / 2, df))

    def surplus(ncp: float) -> float:
        return detection_power(ncp, df, alpha, one_sided) - power

    return se * float(optimize.brentq(surplus, 0.0, most))


def seeds_needed(
    delta: float,
    sd: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    paired: bool = False,
    one_sided: bool = True,
) -> int | None:
    """Return the seeds per arm that find a true difference `delta` with probability `power`.

    None when more than MOST_SEEDS, or when delta or sd is not positive and finite.
    """
    contrast_sd, groups = (sd, 1) if paired else (sd * math.sqrt(2), 2)
    return seeds_for_contrast(
        delta, contrast_sd, groups, alpha=alpha, power=power, one_sided=one_sided
    )


def seeds_for_contrast(
    delta: float,
    sd: float,
    groups: int,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    one_sided: bool = True,
) -> int | None:
    """Return `seeds_needed` for a contrast whose sd is `sd` at one seed per arm.

    `groups` is 1 when the arms are paired by seed, else the number of arms.
    """
    if not (_usable(sd) and _usable(delta)):
        return None

    def reached(n: int) -> float:
        return detection_power(delta * math.sqrt(n) / sd, groups * (n - 1), alpha, one_sided)

    candidates = range(2, MOST_SEEDS + 1)
    position = bisect.bisect_left(candidates, power, key=reached)
    return candidates[position] if position < len(candidates) else None


def detection_power(ncp: float, df: float, alpha: float, one_sided: bool) -> float:
    """Return the probability that a t-test at alpha rejects, `ncp` = true difference / its se."""
    from scipy import stats

    critical = float(stats.t.isf(alpha if one_sided else alpha / 2, df))
    found = float(stats.nct.sf(critical, df, ncp))
    if one_sided:
        return found
    # scipy gives NaN where the far tail underflows.
    far = float(stats.nct.cdf(-critical, df, ncp))
    return found + (far if far > 0 else 0.0)


def _usable(value: float) -> bool:
    return math.isfinite(value) and value > 0
