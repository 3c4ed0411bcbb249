"""From a results folder to filled tables: which runs stand behind which cell, and in which context.

Only files are read. A run belongs to a cell exactly when its key does, that is when the cell's
specification under some context, at some seed, is the run's own. The contexts are those that the
runs carry; each becomes a table of its own, so nothing is ever averaged across two of them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import structs

from resbench.analysis.declared import declared, images_seen, published
from resbench.analysis.results import Begun, Results, Setting, identity_of, seed_of, setting_of
from resbench.errors import ResbenchError
from resbench.store.records import RunRecord
from resbench.suite.catalog import PAPER, Loaded, load_suites, load_tier, suite_names
from resbench.suite.expand import Cell, DataChoice, Expanded, data_names, expand
from resbench.suite.spec import NUMERICS


@dataclass(frozen=True)
class FilledCell:
    """One combination of the matrix and the runs whose keys are its own, in order of seeds."""

    cell: Cell
    seeds: tuple[int, ...]
    """Asked for by the suite or its tier, and those that were run besides."""
    done: tuple[RunRecord, ...] = ()
    diverged: tuple[RunRecord, ...] = ()
    begun: tuple[Begun, ...] = ()

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
class FilledTable:
    """A suite under one context, with its runs."""

    expanded: Expanded
    cells: Mapping[str, FilledCell]
    """By cell id, in the order of the matrix."""
    results: Path

    @property
    def records(self) -> list[RunRecord]:
        """Every finished run behind the table, each once."""
        found = {run.key: run for cell in self.cells.values() for run in cell.records}
        return list(found.values())

    @property
    def keys(self) -> set[str]:
        """The keys of all runs behind the table, begun ones too."""
        begun = {run.key for cell in self.cells.values() for run in cell.begun}
        return begun | {run.key for run in self.records}

    @property
    def lacks_runs(self) -> bool:
        """Whether a seed that is asked for has no finished run."""
        return any(cell.missing for cell in self.cells.values())

    def choice(self, cell: FilledCell) -> DataChoice | None:
        """Return the data set of one cell; None for a cell that is not trained."""
        spec = cell.cell.spec
        return None if spec is None else self.expanded.context.data[spec.data.name]


def fill(loaded: Loaded, results: Results) -> list[FilledTable]:
    """Return the suite's tables, one per context that adds runs to those before it.

    The printed data set at the paper's tier comes first. Without any run there is one table, empty,
    as the source declares it.
    """
    candidates = []
    for setting, expanded in _expansions(loaded, results):
        names = expanded.context.data
        at_hand = [setting.choices.get(name) or (published(name),) for name in names]
        for combination in itertools.product(*at_hand):
            data = dict(zip(names, combination, strict=True))
            candidates.append(filled(_on(expanded, data), results))
    tables, shown = [], set[str]()
    for table in sorted(candidates, key=lambda table: closeness(table.expanded)):
        if not table.keys <= shown:
            shown |= table.keys
            tables.append(table)
    return tables or [empty(loaded)]


def filled(expanded: Expanded, results: Results) -> FilledTable:
    """Return the suite's table in the one context that it is expanded under."""
    cells = {cell.id: _filled_cell(cell, expanded.seeds, results) for cell in expanded.cells}
    return FilledTable(expanded, cells, results.path)


def later_seeds(table: FilledTable) -> set[int]:
    """Return the seeds that were run and that the suite or its tier does not declare."""
    run = {seed_of(run) for cell in table.cells.values() for run in cell.done}
    return run - set(table.expanded.seeds)


def declared_only(table: FilledTable) -> FilledTable:
    """Return the table without the runs of seeds that the suite or its tier does not declare."""
    declared = table.expanded.seeds
    cells = {
        name: replace(cell, done=tuple(run for run in cell.done if seed_of(run) in declared))
        for name, cell in table.cells.items()
    }
    return replace(table, cells=cells)


def finished(loaded: Loaded, results: Results, *, begun: bool = False) -> list[FilledTable]:
    """Return the suite's tables that have a finished run, else those ``begun``, else the empty."""
    tables = fill(loaded, results)
    return [t for t in tables if t.records] or (tables if begun else [empty(loaded)])


def chosen(names: Sequence[str], results: Results) -> list[Loaded]:
    """Return the named suites; without names every shipped one, smoke only where it was run."""
    if names:
        return load_suites(names)
    shipped = load_suites(suite_names())
    return [s for s in shipped if s.suite.name != "smoke" or any(t.keys for t in fill(s, results))]


def empty(loaded: Loaded) -> FilledTable:
    """Return the suite's table as its source declares it, without a run."""
    expanded = declared(loaded)
    cells = {c.id: FilledCell(c, expanded.seeds if c.spec else ()) for c in expanded.cells}
    return FilledTable(expanded, cells, Path())


def orphans(tables: Iterable[FilledTable], results: Results) -> list[RunRecord]:
    """Return the finished runs that stand behind none of the tables."""
    used = set[str]().union(*(table.keys for table in tables))
    return [record for key, record in results.scan.records.items() if key not in used]


def _expansions(loaded: Loaded, results: Results) -> Iterator[tuple[Setting, Expanded]]:
    """Expand the suite under each setting that it can have been run in."""
    for setting in results.settings:
        named = [value for key, value in setting.context.overrides if key == "data.name"]
        names = dict.fromkeys(named or data_names(loaded))
        if not names.keys() & setting.choices.keys():
            continue
        try:
            data = {name: published(name) for name in names}
            tier = _tier(setting.context.tier, loaded.document.path)
            yield setting, expand(loaded, replace(setting.context, data=data), tier)
        except ResbenchError:
            # The tier is gone, or an override names nothing here: no run of this suite can have
            # this setting. Runs that fit nowhere are named by `status`.
            continue


@cache
def _tier(name: str, suite: Path) -> Any:
    return load_tier(name, suite)


def _on(expanded: Expanded, data: Mapping[str, DataChoice]) -> Expanded:
    """Put other data sets under an expanded suite: only their ids enter a specification."""

    def moved(cell: Cell) -> Cell:
        if cell.spec is None:
            return cell
        images = structs.replace(cell.spec.data, id=data[cell.spec.data.name].id)
        return replace(cell, spec=structs.replace(cell.spec, data=images))

    cells = tuple(moved(cell) for cell in expanded.cells)
    return replace(expanded, context=replace(expanded.context, data=data), cells=cells)


def _filled_cell(cell: Cell, seeds: Sequence[int], results: Results) -> FilledCell:
    if cell.spec is None:
        return FilledCell(cell, ())
    identity = identity_of(cell.spec.canonical(), NUMERICS)
    runs, begun = results.runs.get(identity, ()), results.begun.get(identity, ())
    found = [seed_of(run) for run in runs] + [run.seed for run in begun]
    return FilledCell(
        cell,
        tuple(sorted({*seeds, *found})),
        tuple(run for run in runs if run.status == "done"),
        tuple(run for run in runs if run.status == "diverged"),
        begun,
    )


def closeness(expanded: Expanded) -> tuple[Any, ...]:
    """Sort key: as declared and printed first, what trains longer next; mixed data sets last."""
    context = expanded.context
    trained = (images_seen(cell.spec) for cell in expanded.cells if cell.spec is not None)
    printed = {choice.printed for choice in context.data.values()}
    return (
        context.tier != PAPER.name,
        bool(context.overrides),
        -max(trained, default=0),
        context.tier,
        len(printed) > 1,
        printed != {True},
        [choice.label for choice in context.data.values()],
        context.precision != "fp32",
        context.engine,
        json.dumps(setting_of(context)),
    )
