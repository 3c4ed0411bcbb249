"""A results folder at one moment, indexed by what decides which cell a run belongs to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from resbench.datasets import DATA_SETS
from resbench.store.layout import RunFolder
from resbench.store.metrics import first_error
from resbench.store.records import RunRecord
from resbench.store.scan import Scan, UnfinishedRun, scan
from resbench.suite.expand import Context, DataChoice
from resbench.suite.metrics import METRICS
from resbench.suite.schema import Metric
from resbench.words import one_line


@dataclass(frozen=True)
class RunSetting:
    """How runs were made, apart from suite and seed; only runs of one setting share a table."""

    context: Context
    """Tier, engine, precision and overrides; its ``data`` is empty."""
    choices: Mapping[str, tuple[DataChoice, ...]]
    """Per data set name, what it stood for."""


@dataclass(frozen=True)
class Results:
    """A results folder at one moment; runs are indexed by their specification without its seed."""

    path: Path
    scan: Scan
    settings: tuple[RunSetting, ...]
    runs: Mapping[str, tuple[RunRecord, ...]] = field(repr=False)
    unfinished: Mapping[str, tuple[UnfinishedRun, ...]] = field(repr=False)
    problems: tuple[str, ...] = ()
    """Everything that was refused, a line each, with its path."""


def read_results(path: Path, found: Scan | None = None) -> Results:
    """Scan a results folder, unless it was just ``found``; a missing one counts as empty."""
    found = found or scan(path)
    index = _Index()
    for record in found.records.values():
        file = RunFolder(path, record.key).record
        index.add(file, record.spec, record.numerics, record.context, record)
    for left in found.incomplete:
        run, start = RunFolder(path, left.key), left.started
        if start is None:
            index.problems.append(f"{run.path}: started and left without spec.json. Remove it.")
        else:
            index.add(run.spec, start["spec"], start["numerics"], start["context"], left)
    settings = (
        RunSetting(context, {name: tuple(ids.values()) for name, ids in index.choices[key].items()})
        for key, context in index.contexts.items()
    )
    runs = {i: tuple(sorted(r, key=seed_of)) for i, r in index.runs.items()}
    unfinished = {i: tuple(sorted(b, key=lambda b: b.seed)) for i, b in index.unfinished.items()}
    return Results(
        path, found, tuple(settings), runs, unfinished, (*found.problems, *index.problems)
    )


class _Index:
    """Collects runs by identity and the settings they were made in."""

    def __init__(self) -> None:
        self.contexts: dict[str, Context] = {}
        self.choices: dict[str, dict[str, dict[str, DataChoice]]] = {}
        self.runs: dict[str, list[RunRecord]] = defaultdict(list)
        self.unfinished: dict[str, list[UnfinishedRun]] = defaultdict(list)
        self.problems: list[str] = []

    def add(
        self,
        file: Path,
        spec: Mapping[str, Any],
        numerics: int,
        stored: Any,
        run: RunRecord | UnfinishedRun,
    ) -> None:
        try:
            context, choice = _context(spec, stored)
        except ValueError as error:
            why = one_line(f"{file}: in no table, its setting is not readable ({error}).")
            self.problems.append(why)
            return
        key = json.dumps(setting_of(context), sort_keys=True)
        self.contexts.setdefault(key, replace(context, data={}))
        ids = self.choices.setdefault(key, {}).setdefault(choice.name, {})
        ids.setdefault(choice.id, choice)
        identity = identity_of(spec, numerics)
        if isinstance(run, RunRecord):
            self.runs[identity].append(run)
        else:
            self.unfinished[identity].append(run)


def seed_of(record: RunRecord) -> int:
    """Return the seed of a run."""
    seed = record.spec["seed"]
    assert isinstance(seed, int)
    return seed


def measured(run: RunRecord, metric: Metric) -> float | None:
    """Return one run's number; None where its protocol does not measure it."""
    value = METRICS[metric].read(run)
    return None if value is None else float(value)


def all_measured(runs: Iterable[RunRecord], metric: Metric) -> list[float]:
    """Return the numbers of the runs that ended with a result, where their protocol has them."""
    found = [measured(run, metric) for run in runs if run.status == "done"]
    return [value for value in found if value is not None]


def identity_of(spec: Mapping[str, Any], numerics: int) -> str:
    """Return what all seeds of a cell share: equal exactly when keys at one seed are equal."""
    rest = {name: value for name, value in spec.items() if name != "seed"}
    return json.dumps([numerics, rest], sort_keys=True, separators=(",", ":"))


def _context(spec: Mapping[str, Any], stored: Any) -> tuple[Context, DataChoice]:
    """Read a run's context and its own data set from it; ValueError in one line."""
    try:
        context = msgspec.convert(stored, Context)
        name, id_ = spec["data"]["name"], spec["data"]["id"]
        choice = context.data[name]
        if name not in DATA_SETS or type(spec["seed"]) is not int:
            raise ValueError(f"data set {name!r}, seed {spec['seed']!r}")
    except msgspec.ValidationError as error:
        raise ValueError(first_error(error)) from None
    except (KeyError, TypeError) as error:
        raise ValueError(f"missing or of a wrong type: {error}") from None
    return context, DataChoice(name, choice.label, id_)


def setting_of(context: Context) -> list[Any]:
    """Return what has to be equal for two runs to share a table, data set apart."""
    overrides = [list(pair) for pair in context.overrides]
    return [context.tier, context.engine, context.precision, overrides]
