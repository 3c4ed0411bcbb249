"""From a results folder to filled tables: which runs stand behind which cell, and in which context.

Only files are read. A run belongs to a cell exactly when its key does, that is when the cell's
specification under some context, at some seed, is the run's own. The contexts are those that the
runs carry; each becomes a table of its own, so nothing is ever averaged across two of them.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from resbench.data.catalog import ARCHIVES
from resbench.errors import ResbenchError
from resbench.store.layout import RunFolder
from resbench.store.records import RunRecord, read_spec
from resbench.store.scan import Scan, scan
from resbench.store.state import RunState
from resbench.suite.catalog import PAPER, Loaded, load_tier
from resbench.suite.expand import Cell, Context, DataChoice, Expanded, data_names, expand
from resbench.suite.spec import NUMERICS


@dataclass(frozen=True)
class Begun:
    """A run without a record, as its folder says."""

    key: str
    seed: int
    state: RunState | None


@dataclass(frozen=True)
class Setting:
    """How runs were made, apart from suite and seed; only runs of one setting share a table."""

    context: Context
    """Tier, scale, engine, precision and overrides; its ``data`` is empty."""
    choices: Mapping[str, tuple[DataChoice, ...]]
    """Per data set name, what it stood for."""


@dataclass(frozen=True)
class Results:
    """A results folder at one moment; runs are indexed by their specification without its seed."""

    path: Path
    scan: Scan
    settings: tuple[Setting, ...]
    runs: Mapping[str, tuple[RunRecord, ...]] = field(repr=False)
    begun: Mapping[str, tuple[Begun, ...]] = field(repr=False)
    problems: tuple[str, ...] = ()
    """Everything that was refused, a line each, with its path."""


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

    def choice(self, cell: FilledCell) -> DataChoice | None:
        """Return the data set of one cell; None for a cell that is not trained."""
        spec = cell.cell.spec
        return None if spec is None else self.expanded.context.data[spec.data.name]


def read_results(path: Path) -> Results:
    """Scan a results folder; a missing one holds nothing."""
    found = scan(path)
    index = _Index()
    for record in found.records.values():
        place = RunFolder(path, record.key).record
        index.add(place, record.spec, record.numerics, record.context, record)
    for unfinished in found.incomplete:
        run = RunFolder(path, unfinished.key)
        stored = read_spec(run)
        if stored is None:
            index.problems.append(f"{run.path}: begun and left without spec.json. Remove it.")
            continue
        begun = Begun(stored["key"], stored["spec"].get("seed", -1), unfinished.state)
        index.add(run.spec, stored["spec"], stored["numerics"], stored["context"], begun)
    settings = (
        Setting(context, {name: tuple(ids.values()) for name, ids in index.choices[key].items()})
        for key, context in index.contexts.items()
    )
    runs = {i: tuple(sorted(r, key=seed_of)) for i, r in index.runs.items()}
    begun_ = {i: tuple(sorted(b, key=lambda b: b.seed)) for i, b in index.begun.items()}
    return Results(
        path, found, tuple(settings), runs, begun_, (*found.problems, *index.problems)
    )


class _Index:
    """Collects runs by identity and the settings they were made in."""

    def __init__(self) -> None:
        self.contexts: dict[str, Context] = {}
        self.choices: dict[str, dict[str, dict[str, DataChoice]]] = {}
        self.runs: dict[str, list[RunRecord]] = defaultdict(list)
        self.begun: dict[str, list[Begun]] = defaultdict(list)
        self.problems: list[str] = []

    def add(
        self, place: Path, spec: Mapping[str, Any], numerics: int, stored: Any, run: RunRecord | Begun
    ) -> None:
        try:
            context, choice = _context(spec, stored)
        except ValueError as error:
            self.problems.append(f"{place}: in no table, its context is not readable ({error}).")
            return
        key = json.dumps(_setting(context), sort_keys=True)
        self.contexts.setdefault(key, replace(context, data={}))
        ids = self.choices.setdefault(key, {}).setdefault(choice.name, {})
        ids.setdefault(choice.id, choice)
        identity = _identity(spec, numerics)
        if isinstance(run, RunRecord):
            self.runs[identity].append(run)
        else:
            self.begun[identity].append(run)


def seed_of(record: RunRecord) -> int:
    """Return the seed of a run."""
    seed = record.spec["seed"]
    assert isinstance(seed, int)
    return seed


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
            candidates.append(_filled(_on(expanded, data), results))
    tables, shown = [], set[str]()
    for table in sorted(candidates, key=lambda table: _order(table.expanded.context)):
        if not table.keys <= shown:
            shown |= table.keys
            tables.append(table)
    return tables or [_filled(declared(loaded), results)]


def orphans(tables: Iterable[FilledTable], results: Results) -> list[RunRecord]:
    """Return the finished runs that stand behind none of the tables."""
    used = set[str]().union(*(table.keys for table in tables))
    return [record for key, record in results.scan.records.items() if key not in used]


def declared(loaded: Loaded) -> Expanded:
    """Return the suite as its source declares it, on the published data sets."""
    data = {name: published(name) for name in data_names(loaded)}
    return expand(loaded, Context("eager", "fp32", data))


def published(name: str) -> DataChoice:
    """Return the data set that printed numbers are about, whether or not it is on this machine."""
    if name in ARCHIVES:
        return DataChoice(name, name, f"md5:{ARCHIVES[name].md5}", True)
    from resbench.data.sources import identify

    source = identify(name, {})
    return DataChoice(name, source.label, source.id, source.printed)


def as_declared(context: Context) -> bool:
    """Whether the context leaves the suite's own settings alone: paper tier, whole schedule."""
    return context.tier == PAPER.name and context.scale == 1 and not context.overrides


def _expansions(loaded: Loaded, results: Results) -> Iterator[tuple[Setting, Expanded]]:
    """Expand the suite under each setting that it can have been run in."""
    for setting in results.settings:
        named = [value for key, value in setting.context.overrides if key == "data.name"]
        names = dict.fromkeys(named or data_names(loaded))
        if not names.keys() & setting.choices.keys():
            continue
        try:
            data = {name: published(name) for name in names}
            tier = _tier(setting.context.tier)
            yield setting, expand(loaded, replace(setting.context, data=data), tier)
        except ResbenchError:
            # The tier is gone, or an override names nothing here: no run of this suite can have
            # this setting. Runs that fit nowhere are named by `status`.
            continue


@cache
def _tier(name: str) -> Any:
    return load_tier(name)


def _on(expanded: Expanded, data: Mapping[str, DataChoice]) -> Expanded:
    """Put other data sets under an expanded suite: only their ids enter a specification."""

    def moved(cell: Cell) -> Cell:
        if cell.spec is None:
            return cell
        images = cell.spec.data.model_copy(update={"id": data[cell.spec.data.name].id})
        return replace(cell, spec=cell.spec.model_copy(update={"data": images}))

    cells = tuple(moved(cell) for cell in expanded.cells)
    return replace(expanded, context=replace(expanded.context, data=data), cells=cells)


def _filled(expanded: Expanded, results: Results) -> FilledTable:
    cells = {cell.id: _filled_cell(cell, expanded.seeds, results) for cell in expanded.cells}
    return FilledTable(expanded, cells, results.path)


def _filled_cell(cell: Cell, seeds: Sequence[int], results: Results) -> FilledCell:
    if cell.spec is None:
        return FilledCell(cell, ())
    identity = _identity(cell.spec.canonical(), NUMERICS)
    runs, begun = results.runs.get(identity, ()), results.begun.get(identity, ())
    found = [seed_of(run) for run in runs] + [run.seed for run in begun]
    return FilledCell(
        cell,
        tuple(sorted({*seeds, *found})),
        tuple(run for run in runs if run.status == "done"),
        tuple(run for run in runs if run.status == "diverged"),
        begun,
    )


def _identity(spec: Mapping[str, Any], numerics: int) -> str:
    """Return what all seeds of a cell share: equal exactly when keys at one seed are equal."""
    rest = {name: value for name, value in spec.items() if name != "seed"}
    return json.dumps([numerics, rest], sort_keys=True, separators=(",", ":"))


@cache
def _stored_context() -> TypeAdapter[Context]:
    return TypeAdapter(Context)


def _context(spec: Mapping[str, Any], stored: Any) -> tuple[Context, DataChoice]:
    """Read a run's context and its own data set from it; ValueError in one line."""
    try:
        context = _stored_context().validate_python(stored)
        name, id_ = spec["data"]["name"], spec["data"]["id"]
        choice = context.data[name]
        if type(spec["seed"]) is not int:
            raise ValueError("its seed is no whole number")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (KeyError, TypeError) as error:
        raise ValueError(f"nothing at {error}") from None
    # The identity decides what is printed data, not a flag that anyone can set.
    return context, DataChoice(name, choice.label, id_, id_ == published(name).id and choice.printed)


def _setting(context: Context) -> list[Any]:
    overrides = [list(pair) for pair in context.overrides]
    return [context.tier, context.scale, context.engine, context.precision, overrides]


def _order(context: Context) -> tuple[Any, ...]:
    """Sort key: as declared and printed first; then larger scales; mixed data sets last."""
    printed = {choice.printed for choice in context.data.values()}
    return (
        context.tier != PAPER.name,
        context.tier,
        bool(context.overrides),
        -context.scale,
        len(printed) > 1,
        printed != {True},
        [choice.label for choice in context.data.values()],
        context.engine,
        context.precision,
        json.dumps(_setting(context)),
    )
