"""What a results folder holds, suite by suite: done, at work, stopped, to do, refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from resbench.analysis.names import context_data, context_label, rerun_command
from resbench.analysis.results import Begun, Results, places_of, seed_of
from resbench.analysis.tables import FilledTable, fill, orphans
from resbench.data.fit import train_images
from resbench.errors import UsageError
from resbench.report.document import SCHEMA, Block, Grid, Heading, Items, Page, Text
from resbench.store.records import RunRecord
from resbench.store.state import Status
from resbench.suite.catalog import Loaded
from resbench.suite.schedule import resolve
from resbench.words import count

STATES = ("done", "diverged", "running", "interrupted", "failed", "to do")
_BEGUN = {
    Status.RUNNING: "running",
    Status.OOM: "failed",
    Status.FAILED: "failed",
    Status.TIMEOUT: "failed",
}


@dataclass(frozen=True)
class TableStatus:
    """How many runs of one table are in which state; a run of two cells counts once."""

    table: FilledTable
    counts: dict[str, int]

    @property
    def asked(self) -> int:
        """Every run of the table: cells times seeds."""
        return sum(self.counts.values())


def status_of(table: FilledTable) -> TableStatus:
    """Count the runs of one table by state."""
    states: dict[str, str] = {}
    for cell in table.cells.values():
        if cell.cell.spec is None:
            continue
        states |= {cell.cell.at_seed(seed).key: "to do" for seed in cell.seeds}
        states |= {run.key: state_of(run) for run in cell.begun}
        states |= {run.key: run.status for run in cell.records}
    found = Counter(states.values())
    return TableStatus(table, {state: found[state] for state in STATES})


def state_of(run: Begun) -> str:
    """Return the column of a run without a record; one that nobody holds was interrupted."""
    return "interrupted" if run.state is None else _BEGUN.get(run.state.status, "interrupted")


@dataclass(frozen=True)
class Stopped:
    """A run that was begun and not finished, with its places in the tables looked at."""

    run: Begun
    places: tuple[tuple[str, str], ...]
    """Suite and cell."""
    epochs: int | None
    """How many it has in all; None where it is in no table."""

    def __str__(self) -> str:
        state, more = self.run.state, len(self.places) - 1
        label = " ".join(self.places[0]) if self.places else "in no cell of these suites,"
        where = f"{label}{f' +{more}' if more > 0 else ''} seed {self.run.seed}"
        if state is None:
            return f"{where}: begun, no state ({self.run.key[:16]})"
        of = "" if self.epochs is None else f" of {self.epochs}"
        far = f"after epoch {state.epoch}{of}" if state.epoch else "before the end of epoch 1"
        # Of an orderly stop the reason says how far, which stands here already.
        why = "" if (state.reason or "after ").startswith("after ") else f", {state.reason}"
        return f"{where}: {state.status.value} {far}{why} ({self.run.key[:16]})"


def status_page(suites: Sequence[Loaded], results: Results, *, whole: bool = True) -> Page:
    """Return the state of every suite that is trained, and of every folder that is not in order.

    Without ``whole`` runs of other suites are passed over: only what is refused, and therefore
    belongs to no suite, is listed all the same.
    """
    tables = [table for loaded in suites for table in fill(loaded, results)]
    found = [status_of(table) for table in tables if table.expanded.loaded.suite.train]
    stray = sorted(orphans(tables, results), key=_label) if whole else []
    stopped = [run for run in _stopped(tables, results) if whole or run.places]
    data = {
        "schema": SCHEMA,
        "results": str(results.path),
        "records": len(results.scan.records),
        "suites": [_data(status) for status in found],
        "unfinished": [_begun_data(run) for run in stopped],
        "orphans": [run.key for run in stray],
        "problems": list(results.problems),
    }
    return Page(tuple(_blocks(found, results, stopped, stray)), data)


def _blocks(
    found: Sequence[TableStatus],
    results: Results,
    stopped: Sequence[Stopped],
    stray: Sequence[RunRecord],
) -> Iterator[Block]:
    yield Heading(1, "Status")
    yield Text(f"{results.path}: {count(len(results.scan.records), 'finished run')}.")
    rows = [
        (
            status.table.expanded.loaded.suite.name,
            context_label(status.table.expanded.context) if status.table.keys else "not run yet",
            *(str(status.counts[state] or "") for state in STATES),
        )
        for status in found
    ]
    yield Grid(("suite", "context", *STATES), tuple(rows), "ll" + "r" * len(STATES))
    if stopped:
        yield Text("Begun and not finished; the command that began a run goes on with it:")
        yield Items(tuple(map(str, stopped)))
    if stray:
        yield Text(
            f"{count(len(stray), 'finished run')} in no cell of these suites, from an edited or "
            "another suite, another version or --set; the cells they were run for:"
        )
        yield Items(tuple(map(_label, stray)))
    if results.problems:
        yield Text(f"{count(len(results.problems), 'folder')} refused, counted nowhere:")
        yield Items(results.problems)


def _stopped(tables: Sequence[FilledTable], results: Results) -> list[Stopped]:
    """Return every run without a record, those of one suite together."""
    places: dict[str, dict[tuple[str, str], None]] = {}
    epochs: dict[str, int] = {}
    for table in tables:
        for cell in table.cells.values():
            for run in cell.begun:
                spec = cell.cell.at_seed(run.seed)
                with suppress(UsageError):  # it failed for that; the rest of the page is right
                    epochs[run.key] = resolve(spec, train_images(spec.data)).epochs
                place = table.expanded.loaded.suite.name, cell.cell.id
                places.setdefault(run.key, {})[place] = None
    found = [
        Stopped(run, tuple(places.get(run.key, ())), epochs.get(run.key))
        for runs in results.begun.values()
        for run in runs
    ]
    return sorted(found, key=lambda one: (not one.places, one.places, one.run.seed, one.run.key))


def _label(run: RunRecord) -> str:
    place, *_ = places_of(run) or ["in no cell"]
    return f"{place} seed {seed_of(run)} ({run.key[:16]})"


def _begun_data(stopped: Stopped) -> dict[str, Any]:
    run, state = stopped.run, stopped.run.state
    return {
        "key": run.key,
        "places": [list(place) for place in stopped.places],
        "seed": run.seed,
        "state": state_of(run),
        "status": None if state is None else state.status.value,
        "epoch": None if state is None else state.epoch,
        "epochs": stopped.epochs,
        "reason": None if state is None else state.reason,
    }


def _data(status: TableStatus) -> dict[str, Any]:
    return {
        "suite": status.table.expanded.loaded.suite.name,
        "context": context_data(status.table),
        "asked": status.asked,
        **{state.replace(" ", "_"): n for state, n in status.counts.items()},
        "command": rerun_command(status.table, status.table.results)
        if status.table.lacks_runs
        else None,
    }
