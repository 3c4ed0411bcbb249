"""A results folder at one moment, indexed by what decides which cell a run belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
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
from resbench.suite.schema import SIGNAL_METRICS, Metric
from resbench.suite.spec import key_of
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
    """A results folder at one moment."""

    path: Path
    scan: Scan
    settings: tuple[RunSetting, ...]
    runs: Mapping[str, Sequence[RunRecord | UnfinishedRun]] = field(repr=False)
    """By the key of the same run at seed 0, in order of seeds."""
    problems: tuple[str, ...] = ()
    """Everything that was refused, a line each, with its path."""


def read_results(path: Path, *, finished: bool = False) -> Results:
    """Scan a results folder, on demand for ``finished`` runs alone; a missing one is empty."""
    found = scan(path)
    if finished:
        found = replace(found, incomplete=())
    problems = list(found.problems)
    settings: dict[str, tuple[Context, dict[str, dict[str, DataChoice]]]] = {}
    runs: dict[str, list[RunRecord | UnfinishedRun]] = {}
    every: list[RunRecord | UnfinishedRun] = [*found.records.values(), *found.incomplete]
    for run in every:
        folder = RunFolder(path, run.key)
        if isinstance(run, RunRecord):
            file, spec, numerics, stored = folder.record, run.spec, run.numerics, run.context
        elif run.started is None:
            problems.append(f"{folder.path}: started and left without spec.json. Remove it.")
            continue
        else:
            file, start = folder.spec, run.started
            spec, numerics, stored = start["spec"], start["numerics"], start["context"]
        try:
            context, choice = _context(spec, stored)
        except ValueError as error:
            why = f"{file}: in no table, its setting is not readable ({error})."
            problems.append(one_line(why))
            continue
        key = json.dumps(setting_of(context), sort_keys=True)
        _, choices = settings.setdefault(key, (replace(context, data={}), {}))
        choices.setdefault(choice.name, {}).setdefault(choice.id, choice)
        runs.setdefault(identity_of(spec, numerics), []).append(run)
    for same in runs.values():
        same.sort(key=seed_of)
    made_in = tuple(
        RunSetting(context, {name: tuple(ids.values()) for name, ids in choices.items()})
        for context, choices in settings.values()
    )
    return Results(path, found, made_in, runs, tuple(problems))


def seed_of(run: RunRecord | UnfinishedRun) -> int:
    """Return the seed of a run."""
    return int(run.spec["seed"]) if isinstance(run, RunRecord) else run.seed


def measured(run: RunRecord, metric: Metric) -> float | None:
    """Return one run's number; None where its protocol does not measure it.

    A run that diverged has no error, but the sizes within its network that were measured before.
    """
    if run.status == "diverged" and metric not in SIGNAL_METRICS:
        return None
    value = METRICS[metric].read(run)
    return None if value is None else float(value)


def all_measured(runs: Iterable[RunRecord], metric: Metric) -> dict[str, float]:
    """Return the numbers of the runs that have one, by their keys."""
    found = {run.key: measured(run, metric) for run in runs}
    return {key: number for key, number in found.items() if number is not None}


def error_images(metric: Metric, *, train: int, test: int, val_in_train: int) -> int:
    """Return how many images an error is measured on."""
    if metric == "val_in_train_err":
        return val_in_train or test
    return test if metric == "test_top1_err" else train


def identity_of(spec: Mapping[str, Any], numerics: int) -> str:
    """Return what all seeds of a cell share: the key of its run at seed 0."""
    return key_of({**spec, "seed": 0}, numerics)


def _context(spec: Mapping[str, Any], stored: Any) -> tuple[Context, DataChoice]:
    """Read a run's context and its own data set from it; ValueError in one line."""
    try:
        context = msgspec.convert(stored, Context)
        name, id_ = spec["data"]["name"], spec["data"]["id"]
        choice = context.data[name]
        if name not in DATA_SETS:
            raise ValueError(f"data set {name!r}")
    except msgspec.ValidationError as error:
        raise ValueError(first_error(error)) from None
    except (KeyError, TypeError) as error:
        raise ValueError(f"missing or of a wrong type: {error}") from None
    return context, DataChoice(name, choice.label, id_)


def setting_of(context: Context) -> list[Any]:
    """Return what has to be equal for two runs to share a table, data set apart."""
    overrides = [list(pair) for pair in context.overrides]
    return [context.tier, context.engine, context.precision, overrides]
