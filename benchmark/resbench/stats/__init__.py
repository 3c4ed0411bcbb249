"""Intervals, paired tests, power and verdicts: pure functions over errors and predictions.

The method, its sources and its limits are in docs/statistics.md. scipy is imported by the functions
that need it, so that importing this package stays quick.
"""

from resbench.stats.claims import ClaimKind, ClaimVerdict, evaluate_claim, finalise
from resbench.stats.contrasts import ArmResult, Estimate, contrast, seed_contrast
from resbench.stats.evidence import MIN_SEEDS, Evidence, Operator
from resbench.stats.intervals import (
    Interval,
    Summary,
    prediction_interval,
    sampling_sd,
    summarise,
)
from resbench.stats.multiplicity import Holm, holm
from resbench.stats.paired import BootstrapDifference, McNemar, hierarchical_bootstrap, mcnemar
from resbench.stats.power import minimum_detectable_difference, seeds_for_contrast
from resbench.stats.verdicts import (
    RESOLUTION_PP,
    CellKind,
    CellVerdict,
    Comparable,
    judge_cell,
    parse_printed,
)

__all__ = [
    "MIN_SEEDS",
    "RESOLUTION_PP",
    "ArmResult",
    "BootstrapDifference",
    "CellKind",
    "CellVerdict",
    "ClaimKind",
    "ClaimVerdict",
    "Comparable",
    "Estimate",
    "Evidence",
    "Holm",
    "Interval",
    "McNemar",
    "Operator",
    "Summary",
    "contrast",
    "evaluate_claim",
    "finalise",
    "hierarchical_bootstrap",
    "holm",
    "judge_cell",
    "mcnemar",
    "minimum_detectable_difference",
    "parse_printed",
    "prediction_interval",
    "sampling_sd",
    "seed_contrast",
    "seeds_for_contrast",
    "summarise",
]
