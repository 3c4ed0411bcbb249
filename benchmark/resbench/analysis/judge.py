"""Judged tables: everything that a report shows of a suite in one setting, as plain values.

Errors are in percent, differences in percentage points (measured minus published), times in
seconds. These types are the JSON of a report, field by field.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from resbench import __version__
from resbench.analysis import SCHEMA, names
from resbench.analysis.claims import JudgedClaim, judge_claims
from resbench.analysis.declared import as_published, departures, images_seen, keeps_to_source
from resbench.analysis.results import Results, seed_of
from resbench.analysis.tables import CellRuns, TableRuns, chosen, empty, fill, orphans
from resbench.analysis.values import JudgedValue, judge_values
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.store.records import Result, RunRecord
from resbench.suite.expand import Context, DataChoice
from resbench.suite.load import PAPER
from resbench.suite.provenance import Entry
from resbench.suite.schema import Column, Origin


@dataclass(frozen=True)
class Setting:
    """What separates a table from the others of its suite."""

    id: str
    """Eight hex digits, others for every setting."""
    context: Context
    """Tier, engine, precision and overrides."""
    data: tuple[DataChoice, ...]
    """The data sets that the runs saw, of a table without runs those of its suite."""
    images_seen: int
    """The most images that a run of it trains on, epoch after epoch."""
    schedule: str
    """The tier in words, or that the suite's own setting is not the published one."""
    changes: str
    """What the tier, or the suite's own setting, changes; empty at the source's setting."""
    name: str
    """In a sentence: what is usual is left out."""
    label: str
    """All of it in words."""
    published: bool
    """Whether it is the source's own: its settings, on the published data."""

    @property
    def tier(self) -> str:
        """The tier; ``own`` where the suite's own setting is not the published one."""
        return "own" if self.schedule == names.OWN_SETTING else self.context.tier


@dataclass(frozen=True)
class Cited:
    """A document that publishes the table."""

    title: str
    where: str
    link: str | None


@dataclass(frozen=True)
class Run:
    """One finished run; its key is the name of its folder."""

    key: str
    seed: int
    status: str
    reason: str | None
    result: Result
    parameters: int
    data: str
    data_fingerprint: str
    code: str
    """Of its last epochs."""
    changes: tuple[str, ...]
    """What was different each time it was resumed: the code or, by permission, the environment."""
    device: str
    torch: str
    images_per_s: float
    train_s: float
    total_s: float


@dataclass(frozen=True)
class JudgedCell:
    """One cell of the matrix with its runs, diverged ones last."""

    cell: str
    label: str
    row: str
    """The label of its row in the table."""
    column: str
    """The labels of its other levels."""
    network: str
    """The labels of the levels that do not set the label noise."""
    label_noise: float
    """Share of training labels that are corrupted, 0 to 1."""
    data: str | None
    """The name of its data set; None for a cell that is not trained."""
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]

    @property
    def done(self) -> tuple[Run, ...]:
        """The runs that ended with a result."""
        return tuple(run for run in self.runs if run.status == "done")


@dataclass(frozen=True)
class JudgedTable:
    """A suite in one setting."""

    suite: str
    title: str
    trained: bool
    """False where the table is counted."""
    sources: tuple[Cited, ...]
    setting: Setting
    row_header: str
    rows: Mapping[str, str]
    """Labels by name."""
    columns: Mapping[str, Column]
    values: tuple[JudgedValue, ...]
    footnotes: tuple[str, ...]
    claims: tuple[JudgedClaim, ...]
    cells: tuple[JudgedCell, ...]
    settings: tuple[Entry, ...]
    """Every hyperparameter of every cell with its origin, each combination once."""
    command: str
    """What trains all runs in this setting, and skips those that are recorded."""
    lacks_runs: bool

    @property
    def runs(self) -> dict[str, Run]:
        """Every run behind the table by its key, each once."""
        return {run.key: run for cell in self.cells for run in cell.runs}

    @property
    def has_runs(self) -> bool:
        """Whether any cell has a finished run."""
        return any(cell.runs for cell in self.cells)

    @property
    def published_test_errors(self) -> list[JudgedValue]:
        """The values whose published number is a test error, with and without runs."""
        return [v for v in self.values if v.metric == "test_top1_err" and v.number]

    @property
    def origins(self) -> dict[str, int]:
        """Number of hyperparameters by origin; one with two origins counts in both."""
        counts = Counter(origin for _, origin in {(e.path, e.origin) for e in self.settings})
        return {origin: counts[origin] for origin in get_args(Origin) if counts[origin]}

    def step_of(self, claim: JudgedClaim) -> str:
        """Return the step of a chain that a claim's numbers are of, in words; else nothing."""
        words = {cell.cell: cell.label for cell in self.cells} | {"<": "below", ">": "above"}
        return " ".join(words[word] for word in (claim.step or "").split())

    def label_of(self, value: JudgedValue) -> str:
        """Return the labels of a value's row and column."""
        return f"{self.rows[value.row]}, {self.columns[value.column].label}"


@dataclass(frozen=True)
class Report:
    """Every table that was asked for, and the runs that are in none of them."""

    schema: int
    resbench: str
    results: str
    recorded: int
    """Finished runs in the results folder."""
    problems: tuple[str, ...]
    """Folders that were refused, a line each."""
    tables: tuple[JudgedTable, ...]
    unfinished: Mapping[str, int]
    """Runs without a record, by suite."""
    outdated: Mapping[str, int]
    """Finished runs for a cell of the suite whose specification is another one now."""

    @property
    def by_suite(self) -> dict[str, list[JudgedTable]]:
        """The tables of each suite, the setting closest to the source's first."""
        return _grouped((table.suite, table) for table in self.tables)

    @property
    def with_runs(self) -> list[JudgedTable]:
        """The tables that have runs."""
        return [table for table in self.tables if table.has_runs]

    @property
    def runs(self) -> dict[str, Run]:
        """Every run behind the tables by its key."""
        return {key: run for table in self.with_runs for key, run in table.runs.items()}

    @property
    def by_setting(self) -> dict[str, list[JudgedTable]]:
        """The tables with runs by the setting's name, the closest to the source's first."""
        ordered = sorted(self.with_runs, key=lambda table: _closeness(table.setting))
        return _grouped((table.setting.name, table) for table in ordered)

    @property
    def headline(self) -> JudgedTable | None:
        """In the setting closest to the source's, the table of test errors that has most runs.

        Of those with claims and published test errors.
        """
        for tables in self.by_setting.values():
            found = [
                table
                for table in tables
                if any(claim.has_runs for claim in table.claims)
                and any(value.values for value in table.published_test_errors)
            ]
            if found:
                return max(found, key=lambda table: len(table.runs))
        return None

    def claims(self, *, closest: bool = False) -> Iterator[tuple[JudgedTable, JudgedClaim]]:
        """Yield every claim with runs, as judged in each setting with enough seeds to decide it.

        Only the ``closest`` of these settings to the source's, if so asked. Where none has enough
        seeds, the one with most.
        """
        for tables in self.by_suite.values():
            for i in range(len(tables[0].claims)):
                by_runs: dict[frozenset[str], tuple[JudgedTable, JudgedClaim]] = {}
                for table in (table for table in tables if table.claims[i].has_runs):
                    cells = table.claims[i].cells
                    runs = frozenset(r.key for c in table.cells if c.cell in cells for r in c.runs)
                    by_runs.setdefault(runs, (table, table.claims[i]))
                judged = list(by_runs.values())
                enough = [pair for pair in judged if pair[1].look]
                # max keeps the first of equals, and the tables are sorted
                most = judged and [max(judged, key=lambda pair: pair[1].n)]
                yield from enough[: 1 if closest else None] or most


def report(suites: Sequence[str], results: Results, *, folder: Path | None = None) -> Report:
    """Judge the named suites, or all shipped ones; commands name this ``folder``, or their own."""
    folder = folder or results.path
    tables, unfinished, outdated = list[JudgedTable](), dict[str, int](), dict[str, int]()
    for loaded in chosen(suites, results):
        name, every = loaded.suite.name, fill(loaded, results)
        started = {run.key for t in every for cell in t.cells.values() for run in cell.unfinished}
        strays = [run for run in orphans(every, results) if name in names.suites_of(run)]
        unfinished |= {name: len(started)} if started else {}
        outdated |= {name: len(strays)} if strays else {}
        shown = [table for table in every if table.records] or [empty(loaded, results.path)]
        tables += [judge(table, folder) for table in shown]
    return Report(
        SCHEMA,
        __version__,
        str(results.path),
        len(results.scan.records),
        results.problems,
        tuple(tables),
        unfinished,
        outdated,
    )


def judge(table: TableRuns, results: Path | None = None) -> JudgedTable:
    """Judge one table; its command names the folder of its runs, or these ``results``."""
    loaded, suite = table.expanded.loaded, table.expanded.loaded.suite
    entries = itertools.chain(*table.ledgers.values())
    settings = {(e.path, str(e.value), e.origin, e.reason): e for e in entries}
    cited = zip(loaded.sources, suite.sources, strict=True)
    return JudgedTable(
        suite=suite.name,
        title=suite.title,
        trained=suite.train,
        sources=tuple(Cited(source.title, where.place, source.link) for source, where in cited),
        setting=_setting(table),
        row_header=suite.table.row_header,
        rows={row: level.label for row, level in suite.matrix[suite.table.rows].items()},
        columns=suite.table.columns,
        values=judge_values(table),
        footnotes=suite.footnotes,
        claims=judge_claims(table),
        cells=tuple(_cell(table, cell) for cell in table.cells.values()),
        settings=tuple(settings.values()),
        command=names.rerun_command(table, results=results),
        lacks_runs=table.lacks_runs,
    )


def epochs_of(results: Path | str, run: Run) -> list[EpochMetrics]:
    """Return what a run measured epoch by epoch."""
    return list(read_epochs(RunFolder(Path(results), run.key).metrics, EpochMetrics))


def _setting(table: TableRuns) -> Setting:
    expanded, context = table.expanded, table.expanded.context
    data = table.data_seen or tuple(context.data.values())
    schedule, label = names.schedule_label(expanded), names.setting_label(expanded, data)
    whole = "\n".join([label, *(choice.id for choice in data)])
    # Where a suite departs from its source in some cells only, the cells with runs decide.
    with_runs = {name: table.ledgers[name] for name, cell in table.cells.items() if cell.records}
    ledgers = with_runs or table.ledgers
    keeps = keeps_to_source(ledgers)
    if context.tier != PAPER.name:
        changes = expanded.tier.title
    else:
        departed = departures(itertools.chain(*ledgers.values()))
        changes = "" if keeps else "; ".join(dict.fromkeys(e.reason or e.path for e in departed))
    specs = [cell.spec for cell in expanded.cells if cell.spec is not None]
    return Setting(
        hashlib.sha256(whole.encode()).hexdigest()[:8],
        context,
        data,
        max(map(images_seen, specs), default=0),
        schedule,
        changes,
        names.setting_name(expanded, data),
        label,
        as_published(context) and keeps,
    )


def _cell(table: TableRuns, cell: CellRuns) -> JudgedCell:
    spec, loaded = cell.cell.spec, table.expanded.loaded
    labels, levels, matrix = names.cell_labels(loaded, cell), cell.cell.levels, loaded.suite.matrix
    network = (
        label for axis, label in labels.items()
        if "data.clean_ratio" not in matrix[axis][levels[axis]].set
    )  # fmt: skip
    row, *others = labels.values()
    return JudgedCell(
        cell.cell.id,
        names.listed(labels.values()),
        row,
        names.listed(others),
        names.listed(network),
        0.0 if spec is None else 1 - spec.data.clean_ratio,
        None if spec is None else spec.data.name,
        cell.seeds,
        tuple(map(_run, cell.records)),
    )


def _run(record: RunRecord) -> Run:
    data, machine, timing = record.data, record.environment, record.timing
    return Run(
        record.key,
        seed_of(record),
        record.status,
        record.reason,
        record.result,
        record.model.parameters,
        data.label,
        data.fingerprint,
        record.code.label,
        machine.engine_notes,
        machine.device_name,
        machine.torch,
        timing.images_per_s,
        timing.train_s,
        timing.total_s,
    )


def _closeness(setting: Setting) -> tuple[object, ...]:
    """Sort key: the source's own setting first, then what trains longest."""
    changed = setting.context.tier != PAPER.name or bool(setting.context.overrides)
    return not setting.published, changed, -setting.images_seen, setting.label


def _grouped(pairs: Iterable[tuple[str, JudgedTable]]) -> dict[str, list[JudgedTable]]:
    found: dict[str, list[JudgedTable]] = {}
    for name, table in pairs:
        found.setdefault(name, []).append(table)
    return found
