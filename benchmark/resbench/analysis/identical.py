"""Runs of one key on two sides: every number that a repetition gives again must agree."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict

from resbench.analysis.names import code_label
from resbench.errors import ResbenchError
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.store.predictions import read_predictions
from resbench.store.records import RecordedFile, RunRecord
from resbench.words import count

_DETERMINISTIC = ("status", "reason", "result", "model", "data", "seeds")
"""Fields of a record that a repetition of the run gives again; its files come on top."""


@dataclass(frozen=True)
class SameKey:
    """One run that both sides have."""

    key: str
    label: str
    differences: tuple[str, ...]
    """One phrase each, the numbers of A first; empty when all bits agree."""
    conditions: tuple[str, ...]
    """How the two were made, where that differs."""


def same_key(a: tuple[RunFolder, RunRecord], b: tuple[RunFolder, RunRecord], label: str) -> SameKey:
    """Compare two records of one key, then their files where the digests differ."""
    (folder_a, run_a), (folder_b, run_b) = a, b
    found = [
        f"{'.'.join(filter(None, (field, name)))} {x} against {y}"
        for field in _DETERMINISTIC
        for name, x, y in _unequal(getattr(run_a, field), getattr(run_b, field))
    ]
    files: dict[RecordedFile, Callable[[RunFolder, RunFolder], str]] = {
        "metrics.jsonl": _epochs,
        "predictions.npz": _images,
    }
    for name, describe in files.items():
        if run_a.files.get(name) != run_b.files.get(name):
            found.append(f"{name}: {describe(folder_a, folder_b)}")
    return SameKey(run_a.key, label, tuple(found), tuple(_conditions(run_a, run_b)))


def _unequal(x: Any, y: Any) -> Iterator[tuple[str, Any, Any]]:
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


def _conditions(a: RunRecord, b: RunRecord) -> Iterator[str]:
    """Yield how two runs of one key were made differently."""
    if code_label(a) != code_label(b):
        yield f"code {code_label(a)} against {code_label(b)}"
    for name, x, y in _unequal(a.environment, b.environment):
        yield f"{name} {x} against {y}"
