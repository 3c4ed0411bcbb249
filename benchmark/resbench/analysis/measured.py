"""A run's own number, and what is assumed where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable

from resbench.store.records import RunRecord
from resbench.suite.schema import SIGNAL_METRICS, Metric

PLANNING_SD_PP = 0.2
"""Usual sd between seeds of CIFAR networks at the paper's schedule, until one is measured."""


def measured(run: RunRecord, metric: Metric) -> float | None:
    """Return one run's number; None where its protocol does not measure it."""
    if metric == "train_time_min":
        return run.timing.train_s / 60
    if metric in SIGNAL_METRICS:
        return _signal(run, metric)
    value = getattr(run.result, metric)
    return None if value is None else float(value)


def _signal(run: RunRecord, metric: Metric) -> float | None:
    """Return the power of ten of a size within the network; None where it has no attention."""
    signals = run.signals_at_start if metric.endswith("start") else run.signals_at_end
    if signals is None:
        return None
    last = signals.stages[max(signals.stages)]
    size = signals.stem_grad_norm if metric.startswith("gradient") else last.product_rms
    return math.log10(size) if size > 0 else None


def all_measured(runs: Iterable[RunRecord], metric: Metric) -> list[float]:
    """Return the numbers of the runs that ended with a result, where their protocol has them."""
    found = [measured(run, metric) for run in runs if run.status == "done"]
    return [value for value in found if value is not None]
