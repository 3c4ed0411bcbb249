"""Student's t by scipy.special: scipy.stats takes it from there too, and a second to import."""

from __future__ import annotations


def quantile(probability: float, df: float) -> float:
    """Return the t that a draw stays below with this probability."""
    from scipy import special

    return float(special.stdtrit(df, probability))


def cdf(t: float, df: float) -> float:
    """Return the probability that a draw stays below ``t``."""
    from scipy import special

    return float(special.stdtr(df, t))
