"""All runs of a results folder at one moment, whatever state they are in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resbench.errors import ResbenchError
from resbench.store.atomic import faults_at
from resbench.store.layout import RUN_NAME, RunFolder, is_marked, require_folder
from resbench.store.records import RunRecord, read_record, read_spec
from resbench.store.state import RunState, read_state
from resbench.words import one_line


@dataclass(frozen=True)
class UnfinishedRun:
    """A run without a record."""

    key: str
    """16 digits where ``spec.json`` was never written."""
    started: dict[str, Any] | None
    """The content of ``spec.json``."""
    state: RunState | None

    @property
    def seed(self) -> int:
        """The seed that it was started with; -1 where nothing says."""
        return self.started["spec"]["seed"] if self.started else -1


@dataclass(frozen=True)
class Scan:
    """What :func:`scan` found; ``problems`` are one-line texts with the path."""

    records: dict[str, RunRecord]
    problems: tuple[str, ...]
    incomplete: tuple[UnfinishedRun, ...]

    @property
    def epochs(self) -> dict[str, int]:
        """Key -> the epoch after which an unfinished run resumes."""
        return {run.key: run.state.epoch for run in self.incomplete if run.state is not None}


def scan(results: Path) -> Scan:
    """Read every run of ``results``; no bad one hides the others, a missing folder holds none."""
    is_marked(results)
    records: dict[str, RunRecord] = {}
    problems: list[str] = []
    incomplete: list[UnfinishedRun] = []
    try:
        names = run_names(results)
    except ResbenchError as error:
        return Scan({}, (one_line(error),), ())
    for name in names:
        path = results / "runs" / name
        try:
            if not RUN_NAME.fullmatch(name):
                raise ResbenchError(
                    f"{path}: not the name of a run (16 hex digits); ignored. Remove it."
                )
            require_folder(path)
            run = RunFolder(results, name)
            if os.path.lexists(run.record):
                record = read_record(run)
                records[record.key] = record
            else:
                stored = read_spec(run)
                key = stored["key"] if stored else name
                incomplete.append(UnfinishedRun(key, stored, read_state(run)))
        except ResbenchError as error:
            problems.append(one_line(error))
    return Scan(records, tuple(problems), tuple(incomplete))


def run_names(results: Path) -> list[str]:
    """Return the names of the run folders, and of whatever else lies among them."""
    runs = results / "runs"
    if not os.path.lexists(runs) and (os.path.isdir(results) or not os.path.lexists(results)):
        return []
    require_folder(runs)
    with faults_at(runs):
        names = os.listdir(runs)
    return sorted(name for name in names if not name.startswith("."))
