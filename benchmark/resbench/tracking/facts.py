"""What MLflow shows of a run, read from its folder and from the suites whose cells it fills."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from resbench.errors import EnvironmentFault, ResbenchError
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, EpochTiming, read_epochs
from resbench.store.records import RunRecord, read_record, read_spec
from resbench.store.state import Status, read_state
from resbench.suite.expand import published_values
from resbench.suite.load import load_suite, suite_folder
from resbench.suite.schema import ERROR_METRICS, IDENTIFIER
from resbench.suite.spec import dotted
from resbench.words import one_line

MAX_NAME = 250
"""Characters of the name of a parameter, which may be that of an option of a user's network."""
MAX_TEXT = 5000
"""Characters of a parameter or tag: below the limits of all MLflow stores."""
_ARTIFACTS = ("spec.json", "record.json", "predictions.npz", "worker.log")
# Charts are grouped by the part before the slash, in alphabetical order: errors come first.
_GROUPS = {"lr": "schedule", "duration_s": "timing", "eval_s": "timing", "images_per_s": "timing"}


@dataclass(frozen=True)
class Published:
    """What a suite says of its cells; empty where its file is unknown or faulty."""

    title: str = ""
    cites: str = ""
    """The documents and the places in them."""
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Cell -> metric -> published value, in percent."""
    path: str = field(default="", repr=False)
    """The suite's file: no part of the digest, as a folder may be copied."""
    content: str = field(default="", repr=False)
    """The suite, its protocol and its sources as text: what a report shows but no run does."""


@dataclass(frozen=True)
class Facts:
    """One run. Metrics are named ``group/field``; errors are in percent, times in seconds."""

    key: str
    cells: tuple[tuple[str, str], ...]
    """Suite and cell of every table cell that it was trained for."""
    seed: int
    status: Status
    params: Mapping[str, str]
    tags: Mapping[str, str]
    data: tuple[str, str, Mapping[str, Any]]
    """Name and identity of the data set, and which of its images were used, and how."""
    started_ms: int
    """UTC."""
    epochs: tuple[Mapping[str, float], ...]
    seconds: tuple[float, ...]
    """Training time at the end of each epoch."""
    record: str
    """Hash of its record; empty while it has none."""
    artifacts: tuple[str, ...] = field(repr=False)
    """Names of files in its folder; a pack leaves some behind, so no part of the digest."""


def published_by(suite: str, results: Path) -> Published:
    """Read a suite's file: the one near the results folder, or the shipped one."""
    near = results.absolute().parent
    files = (folder / f"{suite}.yaml" for folder in (near / "suites", near, suite_folder()))
    try:
        loaded = load_suite(str(next(filter(Path.is_file, files))))
    except (StopIteration, ResbenchError):  # `validate` reports it; a run is exported all the same
        return Published()
    values = dict[str, dict[str, float]]()
    for cell, metric, published in published_values(loaded.suite):
        if published.value and metric in ERROR_METRICS:
            values.setdefault(cell, {}).setdefault(metric, float(published.value))
    documents = loaded.document, loaded.protocol_document
    content = repr(([document.value for document in documents], loaded.sources))
    path = str(loaded.document.path)
    return Published(loaded.suite.title, loaded.cited, values, path, content)


def read_facts(run: RunFolder) -> Facts | None:
    """Return what the files of a run say, None where it has not started.

    Raises:
        EnvironmentFault: something in the folder is damaged or forged.
    """
    run.require()
    if run.record.exists():
        record = read_record(run)
        return _facts(run, record.key, record.spec, record.context, record)
    if stored := read_spec(run):
        return _facts(run, stored["key"], stored["spec"], stored["context"], None)
    return None


def _facts(run: RunFolder, key: str, spec: Any, context: Any, record: RunRecord | None) -> Facts:
    """Return the facts; a specification and a context from elsewhere may say anything."""
    epochs, seconds = _epochs(run)
    status, started_s, course = _course(run, record)
    size = {"size": asdict(record.model)} if record else {}
    try:
        data = spec["data"]
        label = str(context["data"][data["name"]]["label"])
        changed = [f"{name}={json.dumps(value)}" for name, value in context["overrides"]]
        tags = {
            "resbench.key": key,
            "resbench.seed": spec["seed"],
            "resbench.tier": spec["tier"],
            "resbench.data": label,
            "resbench.set": " ".join(changed),
        }
        return Facts(
            key=key,
            cells=_cells(context),
            seed=int(spec["seed"]),
            status=status,
            params=_texts(dict(dotted(spec | size))),
            tags=_texts(tags | course),
            data=(one_line(label)[:200], one_line(data["id"]).rpartition(":")[2][:8], data),
            started_ms=int(started_s * 1000),
            epochs=epochs,
            seconds=seconds,
            record=record.record_hash if record else "",
            artifacts=tuple(name for name in _ARTIFACTS if _is_plain(run.path / name)),
        )
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise EnvironmentFault(
            f"run {key[:16]}: not exported, its specification or context is not one that "
            f"`resbench run` writes ({type(error).__name__} {one_line(error)})."
        ) from error


def _cells(context: Any) -> tuple[tuple[str, str], ...]:
    cells = tuple((str(suite), str(cell)) for suite, cell in context["cells"])
    names = [name for suite, cell in cells for name in (suite, *cell.split("/"))]
    if not cells or not all(re.match(IDENTIFIER, name) for name in names):  # parts of queries
        raise ValueError(f"cells {cells!r}")
    return cells


def _course(run: RunFolder, record: RunRecord | None) -> tuple[Status, float, dict[str, Any]]:
    """Return status, start and tags: of the record, or of the state where there is none yet."""
    tags: dict[str, Any] = {}
    if record is None:
        state = read_state(run)
        status, reason = (state.status, state.reason) if state else (Status.INTERRUPTED, None)
        started_s = run.spec.stat().st_mtime
    else:
        status, reason = Status(record.status), record.reason
        started_s = datetime.fromisoformat(record.timing.started).timestamp()
        tags = {
            "resbench.device": record.environment.device_name,
            "resbench.torch": record.environment.torch,
            "resbench.code": record.code.label,
            "resbench.resumed": record.timing.resumed,
        }
    return status, started_s, tags | {"resbench.status": status, "resbench.reason": reason or ""}


def _epochs(run: RunFolder) -> tuple[tuple[Mapping[str, float], ...], tuple[float, ...]]:
    # First, because a worker writes the timing of an epoch before its metrics.
    rows = read_epochs(run.metrics, EpochMetrics)
    times = {row.epoch: row for row in read_epochs(run.timing, EpochTiming)}
    epochs, seconds, elapsed_s = [], [], 0.0
    for row in rows:
        values = _grouped(row)
        if time := times.get(row.epoch):
            values |= _grouped(time)
            elapsed_s += time.duration_s + time.eval_s
        epochs.append(values)
        seconds.append(elapsed_s)
    return tuple(epochs), tuple(seconds)


def _grouped(row: Struct) -> dict[str, float]:
    values = {}
    for name, value in asdict(row).items():
        if value is not None and name not in ("epoch", "step", "packed"):
            group = "error" if name in ERROR_METRICS else _GROUPS.get(name, "loss")
            values[f"{group}/{name}"] = round(float(value), 6 if group == "error" else 12)
    return values


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return names and text that no store refuses and no terminal obeys."""
    return {
        re.sub(r"[^\w. :-]", "_", key)[:MAX_NAME]: one_line(
            item if isinstance(item, str) else json.dumps(item)
        )[:MAX_TEXT]
        for key, item in values.items()
    }
