"""What MLflow is told about a run: read from its files, or before there are any from the plan."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from resbench.data.catalog import ARCHIVES, published_id
from resbench.errors import EnvironmentFault
from resbench.store.layout import IDENTIFIER, RunFolder
from resbench.store.metrics import EpochMetrics, EpochTiming, read_epochs
from resbench.store.records import RunRecord, read_record, read_spec
from resbench.store.state import Status, read_state
from resbench.words import one_line

MLFLOW_STATUS = {
    Status.RUNNING: "RUNNING",
    Status.DONE: "FINISHED",
    Status.DIVERGED: "FAILED",
    Status.OOM: "FAILED",
    Status.FAILED: "FAILED",
    Status.TIMEOUT: "FAILED",
    Status.INTERRUPTED: "KILLED",
}
MAX_TEXT = 5000
"""Characters of a parameter or tag: below every limit of MLflow's stores."""
MAX_NAME = 200
"""Characters of a data set's name."""
_DIGEST = 36
_ARTIFACTS = ("spec.json", "record.json", "predictions.npz", "worker.log")

Point = tuple[str, int]
"""Name of a metric, and epoch; results stand at 0, where MLflow draws bars instead of lines."""


@dataclass(frozen=True)
class DataFacts:
    """A data set as MLflow lists it; ``url`` where the published archive itself was used."""

    name: str
    digest: str
    url: str | None
    profile: Mapping[str, Any]
    """Which of its images, and how: the specification's ``data``."""


@dataclass(frozen=True)
class Facts:
    """One run, in MLflow's terms."""

    key: str
    cells: tuple[tuple[str, str], ...]
    """Suite and cell of every place that it fills."""
    seed: int
    data: DataFacts
    params: Mapping[str, str]
    tags: Mapping[str, str]
    status: Status = Status.RUNNING
    started_ms: int | None = None
    """UTC; None for a run that begins now."""
    points: Mapping[Point, float] = field(default_factory=dict)
    seconds: Mapping[int, float] = field(default_factory=dict)
    """Epoch -> training time at its end, in seconds."""
    artifacts: tuple[Path, ...] = ()
    version: str = ""
    """Tells an up-to-date mirror of a run that has ended from an older one."""

    @property
    def ended(self) -> bool:
        """Whether nobody works on it."""
        return self.status is not Status.RUNNING


def begun(key: str, spec: Any, context: Any) -> Facts:
    """Return what is known of a run when it begins, from its specification and context.

    Raises:
        EnvironmentFault: one of them is not what resbench writes, or names no suite.
    """
    try:
        data = spec["data"]
        cells = tuple((_suite(suite), _cell(cell)) for suite, cell in context["cells"])
        choice = context["data"][data["name"]]
        tags = {
            "resbench.key": key,
            "resbench.seed": spec["seed"],
            "resbench.tier": spec["tier"],
            "resbench.data": choice["label"],
            "resbench.printed_data": choice["printed"],
            "resbench.set": _overrides(context["overrides"]),
        }
        facts = Facts(
            key,
            cells,
            int(spec["seed"]),
            _data(data, choice["label"]),
            _texts(_flat("", spec)),
            _texts(tags),
        )
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _unplaced(key, f"{type(error).__name__} {error}") from error
    if not cells:
        raise _unplaced(key, "no cells")
    return facts


def read_facts(run: RunFolder, *, status: Status | None = None) -> Facts | None:
    """Return a run as its files tell it, None where it has not begun.

    ``status`` overrides what is known of an unfinished run: the parent has seen how it ended.

    Raises:
        EnvironmentFault: something in the folder is damaged or forged.
    """
    if run.record.exists():
        return _recorded(run, read_record(run))
    spec = read_spec(run)
    if spec is None:
        return None
    state = read_state(run)
    status = status or (state.status if state else Status.INTERRUPTED)
    facts = with_epochs(begun(spec["key"], spec["spec"], spec["context"]), run)
    reason = state.reason if state and status is state.status else None
    tags = {**facts.tags, **_texts({"resbench.reason": reason})}
    return replace(
        facts,
        tags=tags,
        status=status,
        started_ms=int(run.spec.stat().st_mtime * 1000),
        artifacts=_artifacts(run),
        version=f"{status} after {len(facts.seconds)} epochs",
    )


def with_epochs(facts: Facts, run: RunFolder) -> Facts:
    """Return ``facts`` with the epochs that are in the run's files now."""
    times = {row.epoch: row for row in read_epochs(run.timing, EpochTiming)}
    points: dict[Point, float] = {}
    seconds, elapsed = {}, 0.0
    for row in read_epochs(run.metrics, EpochMetrics):
        points |= _points("metrics", row.epoch, row, "epoch", "step")
        if time := times.get(row.epoch):
            points |= _points("timing", row.epoch, time, "epoch", "packed")
            elapsed += time.duration_s + time.eval_s
        seconds[row.epoch] = elapsed
    return replace(facts, points=points, seconds=seconds)


def _recorded(run: RunFolder, record: RunRecord) -> Facts:
    facts = with_epochs(begun(record.key, record.spec, record.context), run)
    results = _points("result", 0, record.result, "epoch", "step")
    cost = {"images_per_s": record.timing.images_per_s, "total_s": record.timing.total_s}
    results |= {(f"result/{name}", 0): value for name, value in cost.items()}
    commit = f" {record.code.commit[:12]}" if record.code.commit else ""
    tags = {
        "resbench.reason": record.reason,
        "resbench.data": record.data.label,
        "resbench.printed_data": record.data.printed,
        "resbench.device": record.environment.device_name,
        "resbench.torch": record.environment.torch,
        "resbench.code": f"{record.code.version}{commit}{' changed' * bool(record.code.dirty)}",
        "resbench.resumed": record.timing.resumed,
    }
    return replace(
        facts,
        params={**facts.params, **_texts(_flat("size.", asdict(record.model)))},
        tags={**facts.tags, **_texts(tags)},
        status=Status(record.status),
        started_ms=int(datetime.fromisoformat(record.timing.started).timestamp() * 1000),
        points={**facts.points, **results},
        artifacts=_artifacts(run),
        version=record.record_hash,
    )


def _points(section: str, step: int, row: Struct, *without: str) -> dict[Point, float]:
    """Name metrics after the file they are in; MLflow's charts are grouped by that."""
    return {
        (f"{section}/{name}", step): float(value)
        for name, value in asdict(row).items()
        if value is not None and name not in without
    }


def _suite(name: Any) -> str:
    if not IDENTIFIER.fullmatch(str(name)):
        raise ValueError(f"suite or cell {name!r}")
    return str(name)


def _cell(name: Any) -> str:
    return "/".join(_suite(part) for part in str(name).split("/"))


def _overrides(pairs: Any) -> str | None:
    return " ".join(f"{key}={json.dumps(value)}" for key, value in pairs) or None


def _data(data: Mapping[str, Any], label: str) -> DataFacts:
    name, content = data["name"], str(data["id"])
    url = ARCHIVES[name].url if name in ARCHIVES and content == published_id(name) else None
    return DataFacts(one_line(label)[:MAX_NAME], one_line(content)[:_DIGEST], url, data)


def _flat(prefix: str, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(f"{prefix}{key}.", item)
        else:
            yield f"{prefix}{key}", item


def _texts(values: Mapping[str, Any] | Iterator[tuple[str, Any]]) -> dict[str, str]:
    """Return text that no store refuses and no terminal obeys; what is None in tags is left out."""
    items = values.items() if isinstance(values, Mapping) else values
    return {
        key: one_line(item if isinstance(item, str) else json.dumps(item))[:MAX_TEXT]
        for key, item in items
        if item is not None or not key.startswith("resbench.")
    }


def _artifacts(run: RunFolder) -> tuple[Path, ...]:
    run.require()
    paths = (run.path / name for name in _ARTIFACTS)
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


def _unplaced(key: str, why: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"run {key[:16]}: not mirrored, its specification or context is not one that "
        f"`resbench run` writes ({one_line(why)})."
    )
