"""From a results folder to the runs behind every table, cell by cell, a table for each setting.

Only files are read. A run belongs to a cell exactly when its key does: when the cell's
specification in some setting, at some seed, is the run's own. The settings are those that the runs
carry; each gets its own table, so nothing is ever averaged across two settings.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from msgspec import structs

from resbench.analysis.declared import (
    declared,
    departures,
    images_seen,
    ledgers_of,
    published_choice,
)
from resbench.analysis.results import Results, RunSetting, seed_of, setting_of
from resbench.errors import ResbenchError
from resbench.store.layout import RESULTS, RunFolder
from resbench.store.predictions import Predictions, read_predictions
from resbench.store.records import RunRecord
from resbench.store.scan import UnfinishedRun
from resbench.suite.expand import Cell, DataChoice, Expanded, data_names, expand
from resbench.suite.load import PAPER, Loaded, load_suites, load_tier, suite_names
from resbench.suite.provenance import Entry

_load_tier = cache(load_tier)


@dataclass(frozen=True)
class CellRuns:
    """A cell of the matrix and the runs whose keys are its own, in order of seeds."""

    cell: Cell
    seeds: tuple[int, ...]
    """Declared by the suite or its tier, and any others that were run."""
    done: tuple[RunRecord, ...] = ()
    diverged: tuple[RunRecord, ...] = ()
    unfinished: tuple[UnfinishedRun, ...] = ()

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """Every finished run, diverged ones last."""
        return self.done + self.diverged

    @property
    def missing(self) -> list[int]:
        """The seeds that are asked for and have no finished run."""
        there = {seed_of(run) for run in self.records}
        return [seed for seed in self.seeds if seed not in there]


@dataclass(frozen=True)
class TableRuns:
    """A suite in one setting, with its runs."""

    expanded: Expanded
    cells: Mapping[str, CellRuns]
    """By cell id, in the order of the matrix."""
    results: Path

    @property
    def records(self) -> list[RunRecord]:
        """Every finished run behind the table, each once."""
        found = {run.key: run for cell in self.cells.values() for run in cell.records}
        return list(found.values())

    @cached_property
    def ledgers(self) -> Mapping[str, list[Entry]]:
        """Where every setting of each cell comes from, by cell id."""
        return ledgers_of(self.expanded)

    def departures(self, cell: str) -> list[str]:
        """Return the settings of suite and protocol that depart from the source in a cell."""
        return [entry.path for entry in departures(self.ledgers[cell])]

    @cached_property
    def predictions(self) -> Mapping[str, Predictions]:
        """What its runs made of the test images, by key, where it can be read."""
        runs = {run.key: RunFolder(self.results, run.key) for run in self.records}
        return predictions_of(runs.values())

    @property
    def keys(self) -> set[str]:
        """The keys of all runs behind the table, unfinished ones too."""
        unfinished = {run.key for cell in self.cells.values() for run in cell.unfinished}
        return unfinished | {run.key for run in self.records}

    @property
    def lacks_runs(self) -> bool:
        """Whether a seed that is asked for has no finished run."""
        return any(cell.missing for cell in self.cells.values())

    @property
    def data_seen(self) -> tuple[DataChoice, ...]:
        """The data sets of the cells with runs."""
        seen = (self.choice(cell) for cell in self.cells.values() if cell.records)
        return tuple(dict.fromkeys(choice for choice in seen if choice is not None))

    def choice(self, cell: CellRuns) -> DataChoice | None:
        """Return the data set of one cell; None for a cell that is not trained."""
        spec = cell.cell.spec
        return None if spec is None else self.expanded.context.data[spec.data.name]


def fill(loaded: Loaded, results: Results) -> list[TableRuns]:
    """Return the suite's tables, one for each setting that adds runs to those before it.

    The setting closest to the source's comes first. Without any run there is one table, empty, as
    the source declares it.
    """
    candidates = []
    for setting, expanded in _expansions(loaded, results):
        names = expanded.context.data
        available = [
            dict.fromkeys((published_choice(name), *setting.choices.get(name, ())))
            for name in names
        ]
        for combination in itertools.product(*available):
            data = dict(zip(names, combination, strict=True))
            on = _on(expanded, data)
            cells = {cell.id: _cell_runs(cell, on.seeds, results) for cell in on.cells}
            candidates.append(TableRuns(on, cells, results.path))
    tables, shown = [], set[str]()
    for table in sorted(candidates, key=lambda table: closeness(table.expanded)):
        if not table.keys <= shown:
            shown |= table.keys
            tables.append(table)
    return tables or [empty(loaded, results.path)]


def chosen(names: Sequence[str], results: Results) -> list[Loaded]:
    """Return the named suites; without names every shipped one, smoke only where it was run."""
    if names:
        return load_suites(names)
    shipped = load_suites(suite_names())
    return [s for s in shipped if s.suite.name != "smoke" or any(t.keys for t in fill(s, results))]


def empty(loaded: Loaded, results: Path = RESULTS) -> TableRuns:
    """Return the suite's table as its source declares it, without a run."""
    expanded = declared(loaded)
    cells = {c.id: CellRuns(c, expanded.seeds if c.spec else ()) for c in expanded.cells}
    return TableRuns(expanded, cells, results)


def predictions_of(runs: Iterable[RunFolder]) -> dict[str, Predictions]:
    """Read the predictions of runs, by key; without them the errors in the records decide."""
    found = {}
    for run in runs:
        with suppress(ResbenchError):
            found[run.key] = read_predictions(run.predictions)
    return found


def orphans(tables: Iterable[TableRuns], results: Results) -> list[RunRecord]:
    """Return the finished runs that are in none of the tables."""
    used = set[str]().union(*(table.keys for table in tables))
    return [record for key, record in results.scan.records.items() if key not in used]


def _expansions(loaded: Loaded, results: Results) -> Iterator[tuple[RunSetting, Expanded]]:
    """Expand the suite under each setting that it can have been run in."""
    for setting in results.settings:
        context = setting.context
        try:
            tier = _load_tier(context.tier, loaded.document.path)
            names = data_names(loaded, tier[0], context.overrides)
            data = {name: published_choice(name) for name in names}
            expanded = expand(loaded, replace(context, data=data), tier)
        except ResbenchError:
            # The tier is gone, or an override names nothing here: no run of this suite can have
            # this setting. Runs that fit nowhere are named by `status`.
            continue
        if expanded.context.data.keys() & setting.choices.keys():
            yield setting, expanded


def _on(expanded: Expanded, data: Mapping[str, DataChoice]) -> Expanded:
    """Put other data sets under an expanded suite: only their ids enter a specification."""

    def moved(cell: Cell) -> Cell:
        if cell.spec is None:
            return cell
        images = structs.replace(cell.spec.data, id=data[cell.spec.data.name].id)
        return replace(cell, spec=structs.replace(cell.spec, data=images))

    cells = tuple(moved(cell) for cell in expanded.cells)
    return replace(expanded, context=replace(expanded.context, data=data), cells=cells)


def _cell_runs(cell: Cell, seeds: Sequence[int], results: Results) -> CellRuns:
    if cell.spec is None:
        return CellRuns(cell, ())
    runs = results.runs.get(cell.at_seed(0).key, ())
    finished = [run for run in runs if isinstance(run, RunRecord)]
    return CellRuns(
        cell,
        tuple(sorted({*seeds, *map(seed_of, runs)})),
        tuple(run for run in finished if run.status == "done"),
        tuple(run for run in finished if run.status == "diverged"),
        tuple(run for run in runs if isinstance(run, UnfinishedRun)),
    )


def closeness(expanded: Expanded) -> tuple[Any, ...]:
    """Sort key: the source's own first, what trains longer next; mixed data sets last."""
    context = expanded.context
    trained = (images_seen(cell.spec) for cell in expanded.cells if cell.spec is not None)
    published_data = {choice.published for choice in context.data.values()}
    return (
        context.tier != PAPER.name,
        bool(context.overrides),
        -max(trained, default=0),
        context.tier,
        len(published_data) > 1,
        published_data != {True},
        [choice.label for choice in context.data.values()],
        context.precision != "fp32",
        context.engine,
        json.dumps(setting_of(context)),
    )
