"""Recompute a record's numbers from its predictions and its epochs."""

from __future__ import annotations

import math

from msgspec.structs import asdict

from resbench.errors import ResbenchError
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.store.predictions import SMALLEST, error_from_predictions, read_predictions
from resbench.store.records import RunRecord, read_record, read_weights

_LOSS_TOLERANCE = 1e-3
"""Relative, plus absolute: probabilities are kept as float32 and cut at its smallest normal."""


def verify_run(run: RunFolder) -> tuple[str, ...]:
    """Return what does not fit in a committed run, one line each; nothing when all does."""
    try:
        record = read_record(run)
        wrong = _against_epochs(record, read_epochs(run.metrics, EpochMetrics))
        if record.status == "done":
            wrong += _against_predictions(run, record)
        read_weights(run, record)
    except ResbenchError as error:
        return (str(error),)
    return tuple(f"{run.record}: {text}." for text in wrong)


def _against_epochs(record: RunRecord, rows: list[EpochMetrics]) -> list[str]:
    result = record.result
    if record.status == "diverged":
        late = len(rows) > result.epoch
        return [f"it diverged in epoch {result.epoch} but has {len(rows)} epochs"] if late else []
    if not rows:
        return ["no epoch is in metrics.jsonl"]
    best = min(rows, key=lambda row: row.test_top1_err)  # the first of equals
    last = asdict(rows[-1])
    expected = {name: last[name] for name in result.__struct_fields__ if name in last}
    expected |= {"best_test_top1_err": best.test_top1_err, "best_epoch": best.epoch}
    return [
        f"{name} is {getattr(result, name)} but metrics.jsonl gives {value}"
        for name, value in expected.items()
        if getattr(result, name) != value
    ]


def _against_predictions(run: RunFolder, record: RunRecord) -> list[str]:
    predictions = read_predictions(run.predictions)
    error, loss = error_from_predictions(predictions)
    result, images = record.result, len(predictions.label)
    wrong = []
    if images != record.data.test_images:
        wrong.append(f"test_images is {record.data.test_images} but {images} are predicted")
    if not math.isclose(error, result.test_top1_err or 0.0, rel_tol=1e-9, abs_tol=1e-9):
        wrong.append(f"test_top1_err is {result.test_top1_err} but the predictions give {error}")
    recorded = result.test_loss or 0.0
    cut = bool(predictions.prob_true.min() < SMALLEST)  # then the recomputed loss is a lower bound
    if not (
        math.isclose(loss, recorded, rel_tol=_LOSS_TOLERANCE, abs_tol=_LOSS_TOLERANCE)
        or (cut and loss < recorded)
    ):
        wrong.append(f"test_loss is {result.test_loss} but the predictions give {loss:.6g}")
    return wrong
