"""What a results folder holds, suite by suite: done, at work, stopped, to do, refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from resbench.report.blocks import SCHEMA, Block, Grid, Heading, Items, Page, Text
from resbench.report.collect import FilledTable, fill, orphans
from resbench.report.labels import context_data, context_label, rerun_command
from resbench.report.reading import Begun, Results
from resbench.store.state import Status
from resbench.suite.catalog import Loaded
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


def status_page(suites: Sequence[Loaded], results: Results) -> Page:
    """Return the state of every suite that is trained, and of every folder that is not in order."""
    tables = [table for loaded in suites for table in fill(loaded, results)]
    found = [status_of(table) for table in tables if table.expanded.loaded.suite.train]
    stray = orphans(tables, results)
    data = {
        "schema": SCHEMA,
        "results": str(results.path),
        "records": len(results.scan.records),
        "suites": [_data(status) for status in found],
        "unfinished": [_begun_data(run) for run in _unfinished(results)],
        "orphans": sorted(run.key for run in stray),
        "problems": list(results.problems),
    }
    return Page(tuple(_blocks(found, results, [run.key for run in stray])), data)


def _blocks(
    found: Sequence[TableStatus], results: Results, stray: Sequence[str]
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
    unfinished = [_describe(run) for run in _unfinished(results)]
    if unfinished:
        yield Text("Begun and not finished; `resbench run` goes on from the last checkpoint:")
        yield Items(tuple(unfinished))
    if stray:
        yield Text(
            f"{count(len(stray), 'finished run')} in no cell of these suites, from an edited or "
            "another suite, another version or --set:"
        )
        yield Items(tuple(key[:16] for key in sorted(stray)))
    if results.problems:
        yield Text(f"{count(len(results.problems), 'folder')} refused, counted nowhere:")
        yield Items(results.problems)


def _unfinished(results: Results) -> list[Begun]:
    return sorted((run for runs in results.begun.values() for run in runs), key=lambda run: run.key)


def _describe(run: Begun) -> str:
    if run.state is None:
        return f"{run.key[:16]}: begun, no state"
    parts = [run.state.status.value, f"epoch {run.state.epoch}", run.state.reason or ""]
    return f"{run.key[:16]}: {', '.join(filter(None, parts))}"


def _begun_data(run: Begun) -> dict[str, Any]:
    state = run.state
    return {
        "key": run.key,
        "seed": run.seed,
        "state": state_of(run),
        "status": None if state is None else state.status.value,
        "epoch": None if state is None else state.epoch,
        "reason": None if state is None else state.reason,
    }


def _data(status: TableStatus) -> dict[str, Any]:
    return {
        "suite": status.table.expanded.loaded.suite.name,
        "context": context_data(status.table),
        "asked": status.asked,
        **{state.replace(" ", "_"): n for state, n in status.counts.items()},
        "command": rerun_command(status.table),
    }
