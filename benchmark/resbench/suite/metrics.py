"""What tables and claims can be about, a row each: to add a metric, add a row.

The rows say how to read a finished run's record and import nothing, because suites are checked
against their names; :mod:`resbench.analysis` does the reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class MetricRow:
    """One metric."""

    label: str
    kind: Literal["error", "signal", "number", "count", "text"]
    """An error in percent, which is judged, and is a field of the same name of every epoch, because
    claims wait for arms that have learnt; the power of ten of a size within the network, where a
    difference of 1 is a factor of 10; another number, which is only shown; a count or a text from
    the description of the network, which needs no run."""
    read: Callable[[Any], float | None] = lambda record: None
    """From a run's record: the number, or None where the run does not measure it."""


def _signal(what: str, when: str) -> MetricRow:
    """Return a size within the network, with its initial or its final weights."""

    def read(record: Any) -> float | None:
        signals = getattr(record, f"signals_at_{when}")
        if signals is None:  # a network without attention
            return None
        rms = [stage.product_rms for stage in signals.stages.values()]  # in their own order
        size = signals.stem_grad_norm if what == "gradient" else rms[-1] if rms else 0.0
        return math.log10(size) if size > 0 else None

    sizes = {"value": "size of features after the last mask",
             "gradient": "gradient at the first convolution"}  # fmt: skip
    weights = {"start": "initial", "end": "final"}
    return MetricRow(f"{sizes[what]}, {weights[when]} weights, log10", "signal", read)


METRICS = {
    "test_top1_err": MetricRow("test error", "error", lambda record: record.result.test_top1_err),
    "train_top1_err": MetricRow(
        "training error under augmentation", "error", lambda record: record.result.train_top1_err
    ),
    "val_in_train_err": MetricRow(
        "error on validation images that are also trained on",
        "error",
        lambda record: record.result.val_in_train_err,
    ),
    "value_at_start": _signal("value", "start"),
    "value_at_end": _signal("value", "end"),
    "gradient_at_start": _signal("gradient", "start"),
    "gradient_at_end": _signal("gradient", "end"),
    "train_time_min": MetricRow(
        "training time in minutes", "number", lambda record: record.timing.train_s / 60
    ),
    "params_m": MetricRow("parameters in millions", "count"),
    "depth": MetricRow("weighted layers from image to logits", "count"),
    "layer": MetricRow("layer", "text"),
    "output_size": MetricRow("output size", "text"),
}


def of_kind(*kinds: str) -> tuple[str, ...]:
    """Return the names of the metrics of some kinds, in the order of the rows."""
    return tuple(name for name, row in METRICS.items() if row.kind in kinds)
