"""Why a measured error differs from the published one: every check that finds something.

A check looks at one cell in one setting and yields findings, each with the numbers that show it and
the most that it can explain, in percentage points. The report puts them into words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from resbench.analysis.arms import arm_of
from resbench.analysis.declared import declared, images_seen
from resbench.analysis.names import cell_labels, listed, rerun_command, setting_label
from resbench.analysis.results import Results
from resbench.analysis.tables import CellRuns, TableRuns, empty, fill
from resbench.analysis.values import JudgedValue, full_width, judge_values, parameters
from resbench.datasets import DATA_SETS
from resbench.stats.guard import fall_limit, guessing_error, last_fall, still_falling
from resbench.stats.spread import Arm
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.suite.expand import Cell
from resbench.suite.load import Loaded
from resbench.suite.provenance import Entry
from resbench.suite.spec import RunSpec

NOTICEABLE_PP = 0.1
"""Less than this explains next to nothing."""

Code = Literal[
    "published_split", "other_data", "other_setting", "deviation", "inferred", "size",
    "unlike_runs", "diverged", "seeds", "underfitted", "memorised", "overfitted", "still_falling",
    "best_epoch",
]  # fmt: skip
SYMPTOMS: frozenset[Code] = frozenset({
    "diverged", "seeds", "underfitted", "memorised", "overfitted", "still_falling", "best_epoch",
})  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One possible reason."""

    code: Code
    points: float | None
    """The most that it can explain; None: unknown, or there is nothing to compare."""
    facts: Mapping[str, Any]
    """What was found."""
    comparable: bool = True
    """Whether the measured and the published number can be compared in spite of it."""

    @property
    def symptom(self) -> bool:
        """Whether it is how a difference shows, not where it comes from."""
        return self.code in SYMPTOMS

    @property
    def rank(self) -> tuple[bool, int, float]:
        """Sort key: causes first, and of them what explains most."""
        if self.points is None:
            return self.symptom, 2 if self.comparable else 0, 0.0
        order = 1 if self.points >= NOTICEABLE_PP else 3
        return self.symptom, order, -self.points


@dataclass(frozen=True)
class Explanation:
    """One cell in one setting."""

    suite: str
    cell: str
    label: str
    setting: str | None
    """In words; None for a cell that is not trained."""
    runs: tuple[str, ...]
    """Keys."""
    values: tuple[JudgedValue, ...]
    findings: tuple[Finding, ...]
    """Causes, then symptoms; of each what explains most first."""
    command: str | None
    """What trains the missing runs."""


@dataclass(frozen=True)
class _Subject:
    """One cell in one setting, with what its runs measured."""

    table: TableRuns
    source: Cell
    """The cell as the source declares it."""
    cell: CellRuns
    spec: RunSpec
    values: tuple[JudgedValue, ...]
    epochs: tuple[Sequence[EpochMetrics], ...]
    arm: Arm
    """Of test errors."""

    @property
    def value(self) -> JudgedValue | None:
        """The published error that is to be explained."""
        return next((v for v in self.values if v.number and v.is_error), None)

    def last(self, number: Callable[[EpochMetrics], float]) -> float:
        """Return the mean over runs of a number of their last epoch."""
        return math.fsum(number(rows[-1]) for rows in self.epochs) / len(self.epochs)


def explain(loaded: Loaded, name: str, results: Results) -> list[Explanation]:
    """Explain a cell in every setting that has runs of it, the closest to the source's first.

    ``name`` is a cell, ``LEVEL/LEVEL`` in the order of the matrix, or ``ROW/COLUMN`` of the table.
    Without a run there is one explanation, of what is known before.

    Raises:
        UsageError: no such cell in the suite.
    """
    source, column = _find(loaded, name)
    tables = [table for table in fill(loaded, results) if table.cells[source.id].records]
    tables = tables or [empty(loaded, results.path)]
    return [_explain(table, source, column) for table in tables]


def _explain(table: TableRuns, source: Cell, column: str | None) -> Explanation:
    """Explain a cell in one setting, or one of the columns that it fills."""
    loaded, cell = table.expanded.loaded, table.cells[source.id]
    judged = judge_values(table)
    values = tuple(v for v in judged if v.cell == source.id and column in (None, v.column))
    found: list[Finding] = []
    if cell.cell.spec is not None:
        files = (RunFolder(table.results, run.key).metrics for run in cell.done)
        epochs = tuple(tuple(read_epochs(path, EpochMetrics)) for path in files)
        arm = arm_of(source.id, cell.records, "test_top1_err", table.predictions)
        subject = _Subject(table, source, cell, cell.cell.spec, values, epochs, arm)
        found = [finding for check in _CHECKS for finding in check(subject)]
    return Explanation(
        loaded.suite.name,
        source.id,
        listed(cell_labels(loaded, cell).values()),
        setting_label(table.expanded, table.data_seen) if cell.cell.spec else None,
        tuple(run.key for run in cell.records),
        values,
        tuple(sorted(found, key=lambda finding: finding.rank)),
        rerun_command(table, cell) if cell.missing else None,
    )


def _find(loaded: Loaded, name: str) -> tuple[Cell, str | None]:
    """Return the cell, and the column where a row and a column were named."""
    source, table = declared(loaded), loaded.suite.table
    row, _, column = name.rpartition("/")
    known = any(cell.id == name for cell in source.cells)
    if not known and row in loaded.suite.matrix[table.rows] and column in table.columns:
        return source.cell_of(row, column), column
    return source.cell(name), None


def _published_split(subject: _Subject) -> Iterator[Finding]:
    """Find published numbers that are another quantity than any that is measured."""
    for value in subject.values:
        if value.published is None or not value.number or not value.is_error:
            continue
        unknown = (value.published.really or value.published.claims) == "unknown"
        if unknown or (value.mean is not None and value.difference is None):
            yield Finding("published_split", None, {"value": value}, comparable=False)


def _settings(subject: _Subject) -> Iterator[Finding]:
    """Name the deviations in force, by place and reason, with the values of the source."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    entries = subject.table.ledgers[subject.cell.cell.id]
    for entry in (entry for entry in entries if entry.origin == "deviation"):
        key = entry.place or entry.layer, entry.reason or ""
        groups.setdefault(key, []).append(entry)
    source, seen = subject.source, images_seen(subject.spec)
    for (where, reason), own in groups.items():
        changes = _changes(own, source)
        facts: dict[str, Any] = {"where": where, "reason": reason, "changes": changes}
        if own[0].path == "data.id":
            yield Finding("other_data", None, facts, comparable=False)
        elif any(e.path == "tier" or e.layer.startswith(("tier ", "command line")) for e in own):
            declared = images_seen(source.spec) if source.spec is not None else seen
            facts |= {"images": seen, "source_images": declared}
            yield Finding("other_setting", None, facts, comparable=False)
        else:
            yield Finding("deviation", None, facts)
    inferred = [e.path for e in entries if e.origin == "inferred"]
    if open_ := [path for path in inferred if path not in ("seed", "precision")]:
        yield Finding("inferred", None, {"settings": open_})


def _changes(entries: Sequence[Entry], source: Cell) -> list[list[Any]]:
    """Return setting, value and the source's other value for each setting that was changed.

    Of what the suite itself sets, no other value is known. Lists of one length follow from a scalar
    next to them, as drops do from the length of a schedule: they are given where no scalar changed.
    """
    values = {".".join(path): leaf.value for path, leaf in source.leaves.items()}
    found: list[list[Any]] = []
    for entry in entries:
        prefix = f"{entry.path}."  # of what a tier switches off the source has parts only
        parts = {p.removeprefix(prefix): v for p, v in values.items() if p.startswith(prefix)}
        other = values.get(entry.path, parts or entry.value)
        if entry.of_suite:
            found.append([entry.path, entry.value])
        elif other != entry.value:
            found.append([entry.path, entry.value, other])
    return [change for change in found if not _follows(*change[1:])] or found


def _follows(value: Any, other: Any = None) -> bool:
    return isinstance(value, list) and (other is None or len(value) == len(other))


def _network(subject: _Subject) -> Iterator[Finding]:
    """Compare the parameters with those of the catalogued network."""
    counted, expected = parameters(subject.cell), full_width(subject.spec)
    if counted is not None and expected is not None and counted != expected:
        narrow = subject.spec.model.width != 1
        facts = {"parameters": counted, "expected": expected, "narrow": narrow}
        yield Finding("size", None, facts)


def _runs(subject: _Subject) -> Iterator[Finding]:
    """Find how runs differ from each other, and how far apart their errors are."""
    records, lost = subject.cell.records, subject.cell.diverged
    images = [f"images {run.data.fingerprint[:16]}" for run in records]
    codes = [f"code {run.code.label}" for run in records]
    for kinds in (dict.fromkeys(images), dict.fromkeys(codes)):
        if len(kinds) > 1:
            yield Finding("unlike_runs", None, {"kinds": list(kinds)})
    if lost:
        facts = {"diverged": len(lost), "runs": len(records), "reason": lost[0].reason}
        yield Finding("diverged", None, facts)
    value = subject.value or next((v for v in subject.values if v.is_error), None)
    if value is not None and value.mean is not None:
        # one run, or one that diverged, shows no spread
        reach = (value.interval[1] - value.interval[0]) / 2 if value.interval else None
        median = value.published.median_of if value.published else None
        runs = len(value.values)
        spread = {"runs": runs, "sd": value.sd, "reach": reach, "look": value.look,
                  "median_of": median, "published": bool(value.number)}  # fmt: skip
        yield Finding("seeds", reach, spread)


def _fit(subject: _Subject) -> Iterator[Finding]:
    """Find out whether the network learnt its training images too little, or by heart."""
    value = subject.value
    if not subject.epochs or value is None or value.metric != "test_top1_err":
        return
    published = float(value.number)
    corrupted = 100 * (1 - subject.spec.data.clean_ratio)  # the error that such labels alone give
    train = subject.last(lambda epoch: epoch.train_top1_err)
    test = subject.last(lambda epoch: epoch.test_top1_err)
    facts = {"train": train, "test": test, "corrupted": corrupted}
    if train - corrupted > published + 1:
        yield Finding("underfitted", train - corrupted - published, facts)
    elif train < corrupted - 1:
        yield Finding("memorised", max(0.0, test - published) or None, facts)
    elif test > published + 1:
        yield Finding("overfitted", test - max(published, train - corrupted), facts)


def _curve(subject: _Subject) -> Iterator[Finding]:
    """Find out whether the test error still falls at the end, by the learning guard's measure."""
    curves = ([epoch.test_top1_err for epoch in rows] for rows in subject.epochs if rows)
    guessing = guessing_error(DATA_SETS[subject.spec.data.name].classes)
    falls = [last_fall(curve, guessing) for curve in curves]
    chance, n = subject.arm.chance_variance, len(falls)
    if still_falling(falls, chance):
        fall, limit = math.fsum(falls) / n, fall_limit(chance, n)
        yield Finding("still_falling", fall, {"fall": fall, "limit": limit, "runs": n})


def _best_epoch(subject: _Subject) -> Iterator[Finding]:
    """Compare the last epoch with the best on the test set."""
    results = [run.result for run in subject.cell.done]
    pairs = [(r.test_top1_err, r.best_test_top1_err) for r in results]
    gains = [last - best for last, best in pairs if last is not None and best is not None]
    gain = round(math.fsum(gains) / len(gains), 6) if gains else 0.0
    if gain:
        yield Finding("best_epoch", gain, {"gain": gain, "epochs": [r.best_epoch for r in results]})


_CHECKS: tuple[Callable[[_Subject], Iterator[Finding]], ...] = (
    _published_split, _settings, _network, _runs, _fit, _curve, _best_epoch,
)  # fmt: skip
