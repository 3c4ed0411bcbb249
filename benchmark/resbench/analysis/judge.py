"""A table with everything that is said about it: verdicts, claims, marks, cost."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from resbench.analysis.architecture import count_places
from resbench.analysis.cells import Place, judge_places
from resbench.analysis.claims import JudgedClaim, judge_claims
from resbench.analysis.declared import as_printed
from resbench.analysis.names import METRICS, ORIGINS, SPLITS
from resbench.analysis.tables import FilledTable, declared_only, later_seeds
from resbench.store.records import RunRecord
from resbench.suite.ledger import Entry, ledger


@dataclass(frozen=True)
class Cost:
    """What the runs of a table took."""

    runs: int
    device_hours: float
    images_per_s: float | None
    """Median over runs, in training."""
    resumed: int
    devices: Mapping[str, int]
    """Runs per device name."""


@dataclass(frozen=True)
class JudgedTable:
    """One table of a report."""

    table: FilledTable
    places: tuple[Place, ...]
    claims: tuple[JudgedClaim, ...]
    marks: tuple[Entry, ...]
    """Every hyperparameter of every cell with its origin, each combination once."""
    cost: Cost

    @property
    def suite(self) -> str:
        """Name of the suite."""
        return self.table.expanded.loaded.suite.name

    @property
    def as_printed(self) -> bool:
        """Whether the source's own conditions hold: settings as declared, on the printed data."""
        return as_printed(self.table.expanded.context)

    @cached_property
    def on_declared(self) -> tuple[JudgedClaim, ...]:
        """The claims as judged without seeds that the suite or tier does not declare."""
        return judge_claims(declared_only(self.table)) if later_seeds(self.table) else self.claims

    @property
    def origins(self) -> dict[str, int]:
        """Number of hyperparameters per origin; one with two origins counts in both."""
        counts = Counter(origin for _, origin in {(e.path, e.origin) for e in self.marks})
        return {origin: counts[origin] for origin in ORIGINS if counts[origin]}


def judge(table: FilledTable) -> JudgedTable:
    """Judge one table; the counted one imports torch to count."""
    suite = table.expanded.loaded.suite
    places = judge_places(table) if suite.train else count_places(table)
    entries = (
        entry for cell in table.cells.values() for entry in ledger(table.expanded, cell.cell)
    )
    marks = {(e.path, str(e.value), e.origin, e.reason): e for e in entries}
    return JudgedTable(
        table, places, judge_claims(table), tuple(marks.values()), cost_of(table.records)
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


def place_notes(place: Place) -> list[str]:
    """Return what a reader has to know about one place: what is printed, what it is, why not."""
    notes = []
    printed = place.printed
    if place.kind == "skipped" and place.text:
        notes.append(place.text)
    if printed is not None:
        really = printed.really or printed.claims
        if printed.really and printed.really != printed.claims:
            claimed = (
                f"Printed as {SPLITS[printed.claims]}, it is" if printed.claims else "The number is"
            )
            notes.append(f"{claimed}: {SPLITS[printed.really]}. Ours: {METRICS[place.metric]}.")
        elif really and really != "test":
            notes.append(f"Printed: {SPLITS[really]}. Ours: {METRICS[place.metric]}.")
        if printed.note:
            notes.append(printed.note)
        if printed.place:
            notes.append(f"Printed in {printed.place}.")
    return notes


def number_notes(
    places: Iterable[Place],
) -> tuple[dict[str, int], dict[tuple[str, str], list[int]]]:
    """Number the notes of a table in reading order, equal ones once.

    Returns the notes with their numbers, and the numbers of each place by row and column.
    """
    numbers: dict[str, int] = {}
    at: dict[tuple[str, str], list[int]] = {}
    for place in places:
        at[place.row, place.column] = [
            numbers.setdefault(note, len(numbers) + 1) for note in place_notes(place)
        ]
    return numbers, at
