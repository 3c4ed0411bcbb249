"""The facts of a run, read from its folder and from the suites whose cells it fills."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from resbench.errors import EnvironmentFault, ResbenchError
from resbench.store.atomic import read_file
from resbench.store.layout import IDENTIFIER, RunFolder
from resbench.store.metrics import EpochMetrics, EpochTiming, read_epochs
from resbench.store.records import read_record, read_spec
from resbench.store.state import Status, read_state
from resbench.suite.catalog import load_suite, suite_folder
from resbench.suite.schema import ERROR_METRICS
from resbench.words import one_line

FORMAT = 1
"""Raised when other facts are read from the same files, so that every run is exported anew."""
MAX_TEXT = 5000
"""Characters of a parameter or tag: below the limits of all MLflow stores."""
ERROR = "test_top1_err"
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


@dataclass(frozen=True)
class Facts:
    """One run. Metrics are named ``group/field``; errors are in percent, times in seconds."""

    key: str
    cells: tuple[tuple[str, str], ...]
    """Suite and cell of every table cell that it fills."""
    seed: int
    status: Status
    params: Mapping[str, str]
    tags: Mapping[str, str]
    data: tuple[str, str, Mapping[str, Any]]
    """Name and identity of the data set, and which of its images were used, and how."""
    started_ms: int = 0
    """UTC."""
    epochs: tuple[Mapping[str, float], ...] = ()
    seconds: tuple[float, ...] = ()
    """Training time at the end of each epoch."""
    record: str = ""
    """Hash of its record; empty while it has none."""
    artifacts: tuple[Path, ...] = ()


class Suites:
    """The suite files behind the cells of a results folder: near it, or the shipped ones."""

    def __init__(self, results: Path) -> None:
        near = results.absolute().parent
        self._folders = (near / "suites", near, suite_folder())
        self.digest = lru_cache(None)(self._digest)
        self.published = lru_cache(None)(self._published)

    def _path(self, name: str) -> Path | None:
        found = (folder / f"{name}.yaml" for folder in self._folders)
        return next((path for path in found if path.is_file()), None)

    def _digest(self, name: str) -> bytes:
        path = self._path(name) if IDENTIFIER.fullmatch(name) else None
        return hashlib.sha256(path.read_bytes() if path else b"").digest()

    def _published(self, name: str) -> Published:
        path = self._path(name)
        try:
            loaded = load_suite(str(path))
        except ResbenchError:  # `validate` tells of it; a run is exported all the same
            return Published()
        suite, values = loaded.suite, dict[str, dict[str, float]]()
        for row, columns in suite.printed.items():
            for name, cell in columns.items():
                column = suite.table.columns[name]
                levels = {suite.table.rows: row, **column.where}
                metric = cell.metric or column.metric
                if cell.value and metric in ERROR_METRICS:
                    id_ = "/".join(levels[axis] for axis in suite.matrix)
                    values.setdefault(id_, {}).setdefault(metric, float(cell.value))
        pairs = zip(loaded.sources, suite.sources, strict=True)
        cites = "; ".join(f"{document.title}, {source.place}" for document, source in pairs)
        return Published(suite.title, cites, values)


def digest_of(run: RunFolder, suites: Suites) -> tuple[str, int, Status] | None:
    """Return a digest of all that is exported of a run, the number of its cells and its status.

    It costs little: nothing is parsed but what names the suites. None where the run has not begun.

    Raises:
        EnvironmentFault: a file cannot be read.
    """
    run.require()
    record = read_file(run.record)
    spec = read_file(run.spec)
    if (told := record or spec) is None:
        return None
    status, reason = Status.DONE, None
    if record is None:
        state = read_state(run)
        status = state.status if state else Status.INTERRUPTED
        reason = state.reason if state else None
    try:
        cells = [(str(suite), str(cell)) for suite, cell in json.loads(told)["context"]["cells"]]
    except (LookupError, TypeError, ValueError, RecursionError):
        cells = []  # reading the facts says what is wrong
    digest = hashlib.sha256(f"{FORMAT} {status} {reason} {len(cells)}".encode())
    files = (spec, record, read_file(run.metrics), read_file(run.timing))
    for part in (*(data or b"" for data in files), *(suites.digest(suite) for suite, _ in cells)):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest(), len(cells), status


def read_facts(run: RunFolder) -> Facts | None:
    """Return what the files of a run say, None where it has not begun.

    Raises:
        EnvironmentFault: something in the folder is damaged or forged.
    """
    if run.record.exists():
        record = read_record(run)
        code, commit = record.code, record.code.commit or ""
        tags = {
            "resbench.status": record.status,
            "resbench.reason": record.reason,
            "resbench.device": record.environment.device_name,
            "resbench.torch": record.environment.torch,
            "resbench.code": f"{code.version} {commit[:12]}{' changed' * bool(code.dirty)}".strip(),
            "resbench.resumed": record.timing.resumed,
        }
        started = datetime.fromisoformat(record.timing.started).timestamp()
        size = {f"size.{name}": value for name, value in asdict(record.model).items()}
        facts = facts_of(record.key, record.spec, record.context, tags, size)
        facts = replace(facts, record=record.record_hash)
    elif begun := read_spec(run):
        state = read_state(run)
        tags = {
            "resbench.status": state.status if state else Status.INTERRUPTED,
            "resbench.reason": state.reason if state else None,
        }
        started = run.spec.stat().st_mtime
        facts = facts_of(begun["key"], begun["spec"], begun["context"], tags)
    else:
        return None
    epochs, seconds = _epochs(run)
    artifacts = (run.path / name for name in _ARTIFACTS)
    return replace(
        facts,
        started_ms=int(started * 1000),
        epochs=epochs,
        seconds=seconds,
        artifacts=tuple(path for path in artifacts if path.is_file() and not path.is_symlink()),
    )


def facts_of(
    key: str,
    spec: Any,
    context: Any,
    tags: Mapping[str, Any],
    size: Mapping[str, Any] | None = None,
) -> Facts:
    """Return what a specification and its context say.

    Raises:
        EnvironmentFault: they are not what resbench writes.
    """
    try:
        data, cells = spec["data"], tuple((_name(s), _cell(c)) for s, c in context["cells"])
        if not cells:
            raise ValueError("no cells")
        label = str(context["data"][data["name"]]["label"])
        changed = [f"{name}={json.dumps(value)}" for name, value in context["overrides"]]
        texts = {
            "resbench.key": key,
            "resbench.seed": spec["seed"],
            "resbench.tier": spec["tier"],
            "resbench.data": label,
            "resbench.set": " ".join(changed) or None,
            **tags,
        }
        return Facts(
            key=key,
            cells=cells,
            seed=int(spec["seed"]),
            status=Status(tags["resbench.status"]),
            params=_texts({**dict(_flat("", spec)), **(size or {})}),
            tags=_texts({name: text for name, text in texts.items() if text is not None}),
            data=(one_line(label)[:200], one_line(data["id"]).rpartition(":")[2][:8], data),
        )
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise EnvironmentFault(
            f"run {key[:16]}: not exported, its specification or context is not one that "
            f"`resbench run` writes ({type(error).__name__} {one_line(error)})."
        ) from error


def _epochs(run: RunFolder) -> tuple[tuple[Mapping[str, float], ...], tuple[float, ...]]:
    times = {row.epoch: row for row in read_epochs(run.timing, EpochTiming)}
    epochs, seconds, elapsed_s = [], [], 0.0
    for row in read_epochs(run.metrics, EpochMetrics):
        values = _grouped(row, "epoch", "step")
        if time := times.get(row.epoch):
            values |= _grouped(time, "epoch", "packed")
            elapsed_s += time.duration_s + time.eval_s
        epochs.append(values)
        seconds.append(elapsed_s)
    return tuple(epochs), tuple(seconds)


def _grouped(row: Struct, *without: str) -> dict[str, float]:
    values = {}
    for name, value in asdict(row).items():
        if value is not None and name not in without:
            group = "error" if name in ERROR_METRICS else _GROUPS.get(name, "loss")
            values[f"{group}/{name}"] = round(float(value), 6 if group == "error" else 12)
    return values


def _name(name: Any) -> str:
    if not IDENTIFIER.fullmatch(str(name)):
        raise ValueError(f"suite or cell {name!r}")
    return str(name)


def _cell(name: Any) -> str:
    return "/".join(_name(part) for part in str(name).split("/"))


def _flat(prefix: str, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(f"{prefix}{key}.", item)
        else:
            yield f"{prefix}{key}", item


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return text that no store refuses and no terminal obeys."""
    return {
        key: one_line(item if isinstance(item, str) else json.dumps(item))[:MAX_TEXT]
        for key, item in values.items()
    }
