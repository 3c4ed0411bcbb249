"""What the replication report is written from, and the few forms its Markdown takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from resbench.analysis.claims import JudgedClaim
from resbench.analysis.judge import JudgedTable
from resbench.analysis.names import data_label, listed, set_label, tier_label
from resbench.analysis.results import Results
from resbench.analysis.tables import closeness
from resbench.report.document import Block
from resbench.report.render.markdown import escape, markdown
from resbench.stats.power import MIN_SEEDS
from resbench.store.layout import RunFolder
from resbench.store.records import RunRecord
from resbench.store.verify import verify_run
from resbench.suite.expand import DataChoice

JUDGED = ("replicated", "better", "worse", "inconclusive")

Tables = Mapping[str, Sequence[JudgedTable]]
"""By suite name; the context closest to print first."""


@dataclass(frozen=True)
class Drawn:
    """One figure: of a table, or of all claims together."""

    kind: str
    table: JudgedTable | None
    path: str
    """Relative to the pages."""
    alt: str
    svg: bytes = field(repr=False)


@dataclass(frozen=True)
class Replication:
    """What the page is written from."""

    results: Results
    tables: Tables
    sources: Mapping[str, JudgedTable]
    """Every suite as its source declares it, without runs."""
    figures: tuple[Drawn, ...] = ()
    method: str = ""
    """Way to the page about the method, relative to the page; nothing where it is not at hand."""

    @cached_property
    def records(self) -> list[RunRecord]:
        """Every finished run behind the tables."""
        found = {run.key: run for table in self.with_runs for run in table.table.records}
        return list(found.values())

    @cached_property
    def verified(self) -> int:
        """How many of the records have the numbers that their predictions give back."""
        return sum(not verify_run(RunFolder(self.results.path, run.key)) for run in self.records)

    @property
    def with_runs(self) -> list[JudgedTable]:
        """The tables with runs, all contexts."""
        return [table for tables in self.tables.values() for table in tables if table.cost.runs]

    @cached_property
    def distinct(self) -> list[JudgedTable]:
        """Those of them that show a run which no other suite's table has already."""
        shown, found = set[str](), list[JudgedTable]()
        for table in sorted(self.with_runs, key=lambda table: len(table.table.keys), reverse=True):
            if not table.table.keys <= shown:
                shown |= table.table.keys
                found.append(table)
        return [table for table in self.with_runs if table in found]

    @cached_property
    def settings(self) -> dict[str, list[JudgedTable]]:
        """The tables with runs by setting, in words; the setting closest to print first."""
        found: dict[str, list[JudgedTable]] = {}
        for table in sorted(self.with_runs, key=lambda table: closeness(table.table.expanded)):
            found.setdefault(self.setting(table), []).append(table)
        order = list(self.tables)
        return {
            name: sorted(tables, key=lambda table: order.index(table.suite))
            for name, tables in found.items()
        }

    def drawn(self, kind: str, suite: str | None = None) -> list[Drawn]:
        """Return the figures of one kind, of one suite if it is named."""
        of = (d for d in self.figures if d.kind == kind)
        return [d for d in of if suite is None or (d.table and d.table.suite == suite)]

    def setting(self, table: JudgedTable) -> str:
        """Return what a number holds for: tier, scale, data set, overrides, precision.

        The engine too where the runs have several.
        """
        return " · ".join(filter(None, self._parts(table)))

    def _parts(self, table: JudgedTable) -> tuple[str, ...]:
        context = table.table.expanded.context
        data = listed(f"{data_label(c)}{self.told_apart(c)}" for c in trained_on(table))
        engine = f"{context.engine} engine" if len(self._engines) > 1 else ""
        return tier_label(context), data, set_label(context), context.precision, engine

    def told_apart(self, choice: DataChoice) -> str:
        """Return the start of a data set's id where another one here has the same label."""
        same = {other.id for other in self._choices if other.label == choice.label}
        return f" {choice.id.rpartition(':')[2][:6]}" if len(same) > 1 else ""

    @cached_property
    def _engines(self) -> set[str]:
        return {table.table.expanded.context.engine for table in self.with_runs}

    @cached_property
    def _choices(self) -> set[DataChoice]:
        return {choice for table in self.with_runs for choice in trained_on(table)}

    def short(self, table: JudgedTable) -> str:
        """Return what tells a table's setting from the others here; its tier if nothing does."""
        every = [self._parts(other) for other in self.with_runs]
        own = [
            part for part, *others in zip(self._parts(table), *every, strict=True)
            if any(part != other for other in others)
        ]  # fmt: skip
        return " · ".join(filter(None, own)) or tier_label(table.table.expanded.context)

    @property
    def shared(self) -> str:
        """What all settings have in common; nothing where there is one."""
        if len(self.settings) < 2:
            return ""
        every = zip(*(self._parts(table) for table in self.with_runs), strict=True)
        return " · ".join(part for part, *others in every if part and {part} >= {*others})

    def claims(self, *, closest: bool = False) -> Iterator[tuple[JudgedTable, JudgedClaim]]:
        """Yield every claim with runs, as judged in each setting with enough seeds to decide it.

        The setting ``closest`` to print first, or alone; where none has enough, the one with most.
        """
        for tables in self.tables.values():
            for i in range(len(tables[0].claims)):
                judged = [(table, table.claims[i]) for table in tables]
                judged = [pair for pair in judged if pair[1].verdict.kind != "not_run"]
                enough = [pair for pair in judged if pair[1].verdict.n >= MIN_SEEDS]
                # max keeps the first of equals, and the tables are sorted
                most = judged and [max(judged, key=lambda pair: pair[1].verdict.n)]
                yield from enough[: 1 if closest else None] or most


def trained_on(table: JudgedTable) -> list[DataChoice]:
    """Return the data sets that the runs of a table saw."""
    choices = (table.table.choice(cell) for cell in table.table.cells.values() if cell.records)
    return list(dict.fromkeys(choice for choice in choices if choice is not None))


def page_link(suite: str) -> str:
    """Return a link to the page of a suite."""
    return f"[{suite}]({suite}.md)"


def as_markdown(block: Block) -> str:
    """Return one block."""
    return markdown([block]).rstrip("\n")


def bullets(lines: Sequence[str]) -> str:
    """Return a list of lines that are Markdown already."""
    return "\n".join(f"- {line}" for line in lines)


def figure_links(figures: Iterable[Drawn], folder: str = "") -> Iterator[str]:
    """Yield the figures as Markdown for a page, or for one that has the pages in ``folder``."""
    return (f"![{escape(figure.alt)}]({folder}{figure.path})" for figure in figures)
