"""What a results folder holds, suite by suite: done, running, interrupted, failed, to do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from resbench.analysis import SCHEMA
from resbench.analysis.names import rerun_command, run_label, setting_label, suites_of
from resbench.analysis.results import Results
from resbench.analysis.tables import TableRuns, fill, orphans
from resbench.errors import UsageError
from resbench.runner.cluster import SlurmJob
from resbench.store.layout import RunFolder
from resbench.store.scan import UnfinishedRun
from resbench.store.state import Status
from resbench.suite.load import Loaded
from resbench.suite.schedule import resolve

STATES = ("done", "diverged", "running", "interrupted", "failed", "to do")


@dataclass(frozen=True)
class TableStatus:
    """How many runs of one table are in which state; a run of two cells counts once."""

    suite: str
    setting: str | None
    """In words; None where nothing has run."""
    runs: Mapping[str, int]
    """By state."""
    command: str | None
    """What trains the missing runs."""


@dataclass(frozen=True)
class StoppedRun:
    """A run that has started and has no record, with its cells in the tables looked at."""

    key: str
    seed: int
    cells: tuple[tuple[str, str], ...]
    """Suite and cell; none where it belongs to none of these suites."""
    state: str
    """What it counts as, one of ``STATES``."""
    status: str | None
    """As its folder records it; None where the folder does not say."""
    epoch: int
    epochs: int | None
    """How many it has in all, where that is known."""
    reason: str | None
    job: str | None = None
    """The Slurm job that it is or was in."""
    silent_s: float | None = None
    """Seconds since a running run last wrote something."""


@dataclass(frozen=True)
class FolderStatus:
    """A results folder."""

    schema: int
    results: str
    records: int
    tables: tuple[TableStatus, ...]
    unfinished: tuple[StoppedRun, ...]
    orphans: tuple[str, ...]
    """Finished runs in no cell of these suites, each with the cell that it was made for."""
    problems: tuple[str, ...]
    jobs: tuple[SlurmJob, ...] = ()
    """Submitted workers that wait or run."""


def folder_status(
    suites: Sequence[Loaded], results: Results, *, whole: bool = True, jobs: Sequence[SlurmJob] = ()
) -> FolderStatus:
    """Return the state of every suite that is trained, and of every folder that is not in order.

    Without ``whole`` runs of other suites are left out; what is refused is always listed.
    """
    tables = [table for loaded in suites for table in fill(loaded, results)]
    trained = (table for table in tables if table.expanded.loaded.suite.train)
    stopped = (run for run in _stopped(tables, results) if whole or run.cells)
    named = {loaded.suite.name for loaded in suites}
    strays = (run for run in orphans(tables, results) if whole or named & suites_of(run))
    return FolderStatus(
        SCHEMA,
        str(results.path),
        len(results.scan.records),
        tuple(map(table_status, trained)),
        tuple(stopped),
        tuple(sorted(map(run_label, strays))),
        results.problems,
        tuple(jobs),
    )


def table_status(table: TableRuns) -> TableStatus:
    """Count the runs of one table by state."""
    states: dict[str, str] = {}
    for cell in table.cells.values():
        if cell.cell.spec is not None:
            states |= {cell.cell.at_seed(seed).key: "to do" for seed in cell.seeds}
            states |= {run.key: _state(run) for run in cell.unfinished}
            states |= {run.key: run.status for run in cell.records}
    found, expanded = Counter(states.values()), table.expanded
    return TableStatus(
        expanded.loaded.suite.name,
        setting_label(expanded, table.data_seen) if table.keys else None,
        {state: found[state] for state in STATES},
        rerun_command(table) if table.lacks_runs else None,
    )


def _state(run: UnfinishedRun) -> str:
    status = run.state.status if run.state else Status.INTERRUPTED
    if status is Status.RUNNING:
        return "running"
    return "failed" if status.is_failure else "interrupted"


def _stopped(tables: Sequence[TableRuns], results: Results) -> list[StoppedRun]:
    """Return every run without a record, those of one suite together."""
    cells: dict[str, dict[tuple[str, str], None]] = {}
    epochs: dict[str, int] = {}
    for table in tables:
        for cell in table.cells.values():
            for run in cell.unfinished:
                spec = cell.cell.at_seed(run.seed)
                with suppress(UsageError):  # it failed for that; the rest is right
                    epochs[run.key] = resolve(spec).epochs
                named = table.expanded.loaded.suite.name, cell.cell.id
                cells.setdefault(run.key, {})[named] = None
    found = []
    every = (run for runs in results.runs.values() for run in runs)
    for run in (run for run in every if isinstance(run, UnfinishedRun)):
        state, epoch, silent_s = run.state, run.state.epoch if run.state else 0, None
        if state and state.status is Status.RUNNING:
            epoch, silent_s = _heartbeat(RunFolder(results.path, run.key), epoch)
        found.append(
            StoppedRun(
                run.key,
                run.seed,
                tuple(cells.get(run.key, ())),
                _state(run),
                state.status.value if state else None,
                epoch,
                epochs.get(run.key),
                state.reason if state else None,
                state.job if state else None,
                silent_s,
            )
        )
    return sorted(found, key=lambda run: (not run.cells, run.cells, run.seed, run.key))


def _heartbeat(folder: RunFolder, epoch: int) -> tuple[int, float | None]:
    """Return how far a running run is, and for how many seconds it has written nothing."""
    with suppress(OSError):
        silent_s = time.time() - max(folder.timing.stat().st_mtime, folder.state.stat().st_mtime)
        return folder.metrics.read_bytes().count(b"\n"), max(0.0, silent_s)
    return epoch, None
