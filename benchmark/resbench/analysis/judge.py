"""Judged tables: everything that a report says about a suite in one setting, as plain values.

Errors are in percent, differences in percentage points (measured minus published), times in
seconds. These types are the JSON of a report, field by field.
"""

from __future__ import annotations

import hashlib
import itertools
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resbench import __version__
from resbench.analysis import SCHEMA, names
from resbench.analysis.claims import JudgedClaim, judge_claims
from resbench.analysis.declared import as_published, images_seen
from resbench.analysis.results import read_results, seed_of
from resbench.analysis.tables import CellRuns, TableRuns, chosen, empty, fill, orphans
from resbench.analysis.values import JudgedValue, judge_values
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.store.records import Result, RunRecord
from resbench.suite.expand import DataChoice
from resbench.suite.load import PAPER, Loaded
from resbench.suite.provenance import Entry
from resbench.suite.schema import Column


@dataclass(frozen=True)
class Setting:
    """What separates a table from the others of its suite."""

    id: str
    """Eight hex digits, others for every setting."""
    tier: str
    scale: float
    engine: str
    precision: str
    overrides: tuple[tuple[str, object], ...]
    data: tuple[DataChoice, ...]
    """The data sets that the runs saw, of a table without runs those of its suite."""
    images_seen: int
    """The most images that a run of it trains on, epoch after epoch."""
    label: str
    """All of it in words."""
    published: bool
    """Whether it is the source's own: its settings, on the published data."""


@dataclass(frozen=True)
class Cited:
    """A document that publishes the table."""

    title: str
    where: str
    link: str | None


@dataclass(frozen=True)
class Run:
    """One finished run; its key leads to the folder with everything else."""

    key: str
    seed: int
    status: str
    reason: str | None
    result: Result
    parameters: int
    macs: int
    data: str
    data_fingerprint: str
    train_images: int
    test_images: int
    code: str
    device: str
    torch: str
    images_per_s: float
    train_s: float
    total_s: float
    resumed: int


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
    skip: str | None
    label_noise: float
    """Share of training labels that are corrupted, 0 to 1."""
    data: str | None
    """The name of its data set."""
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    runs: tuple[Run, ...]

    @property
    def done(self) -> tuple[Run, ...]:
        """The runs that ended with a result."""
        return tuple(run for run in self.runs if run.status == "done")


@dataclass(frozen=True)
class Cost:
    """What the runs of a table took."""

    runs: int
    device_hours: float
    images_per_s: float | None
    """Median over runs, in training."""
    resumed: int
    devices: Mapping[str, int]
    """Runs by device name."""


@dataclass(frozen=True)
class JudgedTable:
    """A suite in one setting."""

    suite: str
    title: str
    trained: bool
    """False where the table is counted."""
    sources: tuple[Cited, ...]
    protocol: str
    tier_title: str | None
    """None at the source's own schedule."""
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
    cost: Cost
    command: str | None
    """What trains the missing runs."""
    train: str
    """What trains all of them again, in this setting, and skips those that are recorded."""

    @property
    def runs(self) -> dict[str, Run]:
        """Every run behind the table by its key, each once."""
        return {run.key: run for cell in self.cells for run in cell.runs}

    @property
    def origins(self) -> dict[str, int]:
        """Number of hyperparameters by origin; one with two origins counts in both."""
        counts = Counter(origin for _, origin in {(e.path, e.origin) for e in self.settings})
        return {origin: counts[origin] for origin in names.ORIGINS if counts[origin]}

    def label_of(self, value: JudgedValue) -> str:
        """Return the labels of a value's row and column."""
        return f"{self.rows[value.row]}, {self.columns[value.column].label}"


@dataclass(frozen=True)
class Report:
    """Every table that was asked for, and what stands in none of them."""

    schema: int
    resbench: str
    results: str
    runs: int
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
        found: dict[str, list[JudgedTable]] = {}
        for table in self.tables:
            found.setdefault(table.suite, []).append(table)
        return found


def report(suites: Sequence[str], path: Path, *, to_keep: bool = False) -> Report:
    """Judge the named suites, or all shipped ones, on a results folder.

    In a report ``to_keep`` finished runs alone count, and commands name the default folder.
    """
    results = read_results(path)
    if to_keep:
        results = replace(results, unfinished={})
    tables, unfinished, outdated = list[TableRuns](), dict[str, int](), dict[str, int]()
    for loaded in chosen(suites, results):
        name, every = loaded.suite.name, fill(loaded, results)
        started = {run.key for t in every for cell in t.cells.values() for run in cell.unfinished}
        strays = [
            run for run in orphans(every, results)
            if any(cell.startswith(f"{name} ") for cell in names.cells_of(run))
        ]  # fmt: skip
        unfinished |= {name: len(started)} if started else {}
        outdated |= {name: len(strays)} if strays else {}
        tables += [table for table in every if table.records] or [empty(loaded, path)]
    return Report(
        SCHEMA,
        __version__,
        str(path),
        len(results.scan.records),
        results.problems,
        tuple(judge(table, names.RESULTS if to_keep else path) for table in tables),
        unfinished,
        outdated,
    )


def judge(table: TableRuns, results: Path | None = None) -> JudgedTable:
    """Judge one table; its command names the folder of its runs, or these ``results``."""
    expanded, loaded = table.expanded, table.expanded.loaded
    suite = loaded.suite
    cells = tuple(_cell(table, cell) for cell in table.cells.values())
    entries = itertools.chain(*table.ledgers.values())
    settings = {(e.path, str(e.value), e.origin, e.reason): e for e in entries}
    train = names.rerun_command(table, results=results)
    return JudgedTable(
        suite=suite.name,
        title=suite.title,
        trained=suite.train,
        sources=_cited(loaded),
        protocol=loaded.protocol.title,
        tier_title=None if expanded.tier.name == PAPER.name else expanded.tier.title,
        setting=_setting(table),
        row_header=suite.table.row_header,
        rows={row: level.label for row, level in suite.matrix[suite.table.rows].items()},
        columns=suite.table.columns,
        values=judge_values(table),
        footnotes=suite.footnotes,
        claims=judge_claims(table),
        cells=cells,
        settings=tuple(settings.values()),
        cost=cost_of(table.records),
        command=train if table.lacks_runs else None,
        train=train,
    )


def cost_of(records: Sequence[RunRecord]) -> Cost:
    """Sum up the runs' times."""
    speeds = [run.timing.images_per_s for run in records]
    return Cost(
        len(records),
        sum(run.timing.total_s for run in records) / 3600,
        statistics.median(speeds) if speeds else None,
        sum(run.timing.resumed > 0 for run in records),
        Counter(run.environment.device_name for run in records),
    )


def epochs_of(results: Path | str, run: Run) -> list[EpochMetrics]:
    """Return what a run measured epoch by epoch."""
    return list(read_epochs(RunFolder(Path(results), run.key).metrics, EpochMetrics))


def _setting(table: TableRuns) -> Setting:
    context, cells = table.expanded.context, table.expanded.cells
    data = table.data_seen or tuple(context.data.values())
    label = names.setting_label(context, data)
    whole = "\n".join([label, *(choice.id for choice in data)])
    return Setting(
        hashlib.sha256(whole.encode()).hexdigest()[:8],
        context.tier,
        context.scale,
        context.engine,
        context.precision,
        context.overrides,
        data,
        max((images_seen(cell.spec) for cell in cells if cell.spec is not None), default=0),
        label,
        as_published(context) and _keeps_to_source(table),
    )


def _keeps_to_source(table: TableRuns) -> bool:
    """Whether the suite leaves its source's settings alone, at least in some cell."""
    trained = [cell.id for cell in table.expanded.cells if cell.spec is not None]
    return not trained or any(not table.departures(cell) for cell in trained)


def _cited(loaded: Loaded) -> tuple[Cited, ...]:
    pairs = zip(loaded.sources, loaded.suite.sources, strict=True)
    return tuple(Cited(source.title, where.place, source.link) for source, where in pairs)


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
        cell.cell.skip,
        0.0 if spec is None else 1 - spec.data.clean_ratio,
        None if spec is None else spec.data.name,
        cell.seeds,
        tuple(cell.missing),
        tuple(map(_run, cell.records)),
    )


def _run(record: RunRecord) -> Run:
    return Run(
        record.key,
        seed_of(record),
        record.status,
        record.reason,
        record.result,
        record.model.parameters,
        record.model.macs,
        record.data.label,
        record.data.fingerprint,
        record.data.train_images,
        record.data.test_images,
        names.code_label(record),
        record.environment.device_name,
        record.environment.torch,
        record.timing.images_per_s,
        record.timing.train_s,
        record.timing.total_s,
        record.timing.resumed,
    )
