"""Whether a record's numbers are those of its files, and those of another run of its key."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict

from resbench.errors import ResbenchError
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.store.predictions import SMALLEST, error_from_predictions, read_predictions
from resbench.store.records import RunRecord, read_record, read_weights
from resbench.words import count

_LOSS_TOLERANCE = 1e-3
"""Relative, plus absolute: probabilities are kept as float32 and cut at its smallest normal."""

_DETERMINISTIC = ("status", "reason", "result", "model", "data", "seeds")
"""Fields of a record that a repetition reproduces, next to its files."""


def verify_run(run: RunFolder) -> tuple[str, ...]:
    """Recompute a committed run's numbers; return what does not fit, one line each."""
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
    result, done = record.result, record.status == "done"
    if done and not rows:
        return ["no epoch is in metrics.jsonl"]
    best = min(rows, key=lambda row: row.test_top1_err, default=None)  # the first of equals
    last = asdict(rows[-1]) if rows else {"epoch": 0, "step": 0}
    kept = result.__struct_fields__ if done else ("epoch", "step")
    expected = {name: last[name] for name in kept if name in last}
    found = (best.test_top1_err, best.epoch) if best else (None, None)
    expected["best_test_top1_err"], expected["best_epoch"] = found
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
    close = math.isclose(loss, recorded, rel_tol=_LOSS_TOLERANCE, abs_tol=_LOSS_TOLERANCE)
    if not close and not (cut and loss < recorded):
        wrong.append(f"test_loss is {result.test_loss} but the predictions give {loss:.6g}")
    return wrong


def differences(a: tuple[RunFolder, RunRecord], b: tuple[RunFolder, RunRecord]) -> tuple[str, ...]:
    """Return what two runs of one key do not share, a phrase each, the numbers of ``a`` first."""
    (folder_a, run_a), (folder_b, run_b) = a, b
    found = [
        f"{'.'.join(filter(None, (field, name)))} {x} against {y}"
        for field in _DETERMINISTIC
        for name, x, y in unequal(getattr(run_a, field), getattr(run_b, field))
    ]
    if run_a.files.get("metrics.jsonl") != run_b.files.get("metrics.jsonl"):
        found.append(f"metrics.jsonl: {_first_epoch(folder_a, folder_b)}")
    if run_a.files.get("predictions.npz") != run_b.files.get("predictions.npz"):
        found.append(f"predictions.npz: {_images(folder_a, folder_b)}")
    return tuple(found)


def unequal(x: Any, y: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs between two fields of a record: by name where they have parts."""
    if isinstance(x, Struct):
        x, y = asdict(x), asdict(y)
    if not isinstance(x, dict):
        x, y = {"": x}, {"": y}
    for name in dict.fromkeys([*x, *y]):
        if x.get(name) != y.get(name):
            long = isinstance(x.get(name), tuple | list)
            yield name, "one" if long else x.get(name), "another" if long else y.get(name)


def _first_epoch(a: RunFolder, b: RunFolder) -> str:
    pairs = itertools.zip_longest(*(read_epochs(run.metrics, EpochMetrics) for run in (a, b)))
    first = next((i for i, (x, y) in enumerate(pairs, 1) if x != y), None)
    return "another spelling" if first is None else f"different from epoch {first} on"


def _images(a: RunFolder, b: RunFolder) -> str:
    try:
        x, y = (read_predictions(run.predictions) for run in (a, b))
    except ResbenchError as error:
        return str(error)
    if not np.array_equal(x.label, y.label):
        return "other test images"
    changed = int(np.count_nonzero(x.pred != y.pred))
    apart = float(np.abs(x.prob_true - y.prob_true).max())
    return (
        f"{changed} of {count(len(x.label), 'image')} classified differently, "
        f"probabilities up to {apart:.2g} apart"
    )
