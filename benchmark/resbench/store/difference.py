"""Two finished runs of one key: every number that a repetition reproduces must agree."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict

from resbench.errors import ResbenchError
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.store.predictions import read_predictions
from resbench.store.records import RecordedFile, RunRecord
from resbench.words import count

_DETERMINISTIC = ("status", "reason", "result", "model", "data", "seeds")
"""Fields of a record that a repetition reproduces, next to its files."""


def differences(a: tuple[RunFolder, RunRecord], b: tuple[RunFolder, RunRecord]) -> tuple[str, ...]:
    """Return what differs, one phrase each, the numbers of ``a`` first; nothing when bits agree."""
    (folder_a, run_a), (folder_b, run_b) = a, b
    found = [
        f"{'.'.join(filter(None, (field, name)))} {x} against {y}"
        for field in _DETERMINISTIC
        for name, x, y in unequal(getattr(run_a, field), getattr(run_b, field))
    ]
    files: dict[RecordedFile, Callable[[RunFolder, RunFolder], str]] = {
        "metrics.jsonl": _epochs,
        "predictions.npz": _images,
    }
    for name, describe in files.items():
        if run_a.files.get(name) != run_b.files.get(name):
            found.append(f"{name}: {describe(folder_a, folder_b)}")
    return tuple(found)


def unequal(x: Any, y: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs between two fields of a record: by name where they have parts."""
    if isinstance(x, Struct):
        x, y = asdict(x), asdict(y)
    if not isinstance(x, dict):
        x, y = {"": x}, {"": y}
    for name in [*x, *(name for name in y if name not in x)]:
        if x.get(name) != y.get(name):
            long = isinstance(x.get(name), tuple | list)
            yield name, "one" if long else x.get(name), "another" if long else y.get(name)


def _epochs(a: RunFolder, b: RunFolder) -> str:
    rows = [read_epochs(run.metrics, EpochMetrics) for run in (a, b)]
    pairs = itertools.zip_longest(*rows)
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
