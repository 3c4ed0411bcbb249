"""Everything on one page: the finding, the claims, every table with its figures, the method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from resbench.analysis.judge import JudgedTable
from resbench.report.document import (
    Block,
    Command,
    Document,
    Fold,
    Heading,
    Items,
    Link,
    Paragraph,
)
from resbench.report.overview import Overview, abstract, cautions, misprints, provenance, scope
from resbench.report.overview import sources as replicated
from resbench.report.per_class import classes_fold
from resbench.report.tables import EFFECTS, claims_table, sources_line, table_blocks
from resbench.report.text import sentence
from resbench.words import count


def page(overview: Overview, runs: str) -> Document:
    """Return the page; ``runs`` is the path of the folder of runs from where the page will be."""
    lead, *settings = abstract(overview)
    suites, waiting = list[Block](), list[Block]()
    for suite, tables in overview.report.by_suite.items():
        own = list(_suite(overview, tables, runs))
        title = f"{tables[0].title}"
        if tables[0].trained and not tables[0].cost.runs:
            waiting.append(Fold(f"{suite}: {title}", tuple(own)))
        else:
            suites += [Heading(2, f"{suite}: {title}"), *own]
    again = dict.fromkeys(table.train for table in overview.tables)
    sections: dict[str, Iterable[Block]] = {
        "Claims": _claims(overview),
        "": suites,
        "Without runs": waiting,
        "Scope and cost": scope(overview),
        "Numbers published as another error than they are": misprints(overview),
        "Where the runs come from": provenance(overview),
        "Run it again": [
            Paragraph(
                "Each command trains what the results folder lacks and skips what is recorded; the "
                "last ones recompute every record, and this page."
            ),
            *map(Command, [*again, "resbench verify", "resbench report --output report.html"]),
        ]
        if again
        else [],
    }
    blocks: list[Block] = [Heading(1, "Replication report"), lead, *settings]
    blocks.append(Paragraph(replicated(overview)))
    if problems := overview.report.problems:
        blocks.append(Fold(f"Refused, in no table ({len(problems)})", (Items(problems),)))
    for title, found in sections.items():
        body = list(found)
        blocks += [Heading(2, title)] if title and body else []
        blocks += body
    return Document(tuple(blocks), overview.report)


def _claims(overview: Overview) -> Iterator[Block]:
    """Yield the claims with runs, a table on an axis of its own for each suite."""
    found = list(overview.claims())
    for suite in dict.fromkeys(table.suite for table, _ in found):
        tables, claims = zip(*(pair for pair in found if pair[0].suite == suite), strict=True)
        settings = [overview.name(table) for table in tables]
        same = len(set(settings)) == 1
        where = f". {sentence(settings[0])}." if same and len(overview.settings) > 1 else ""
        yield Paragraph((Link(suite, f"#{suite}"), f": {tables[0].title}{where}"))
        yield claims_table(claims, [] if same else settings)
    if found:
        yield Paragraph(
            f"{EFFECTS} Dot and line: measured, with its interval; diamond: published; each suite "
            "has an axis of its own, an arrow leads beyond it."
        )
    yield from map(Paragraph, cautions(overview))


def _suite(overview: Overview, tables: list[JudgedTable], runs: str) -> Iterator[Block]:
    yield Paragraph(sources_line(tables[0]))
    for name, where in (
        (overview.report.unfinished, "not finished: `resbench status` lists them"),
        (overview.report.outdated, "of an earlier version of the suite, in no table"),
    ):
        if n := name.get(tables[0].suite):
            yield Paragraph(f"{count(n, 'run')} {where}.")
    for i, table in enumerate(tables):
        yield from table_blocks(table, first=i == 0, runs=runs)
        yield from (
            figure for (_, suite, setting), figure in overview.figures.items()
            if (suite, setting) == (table.suite, table.setting.id)
        )  # fmt: skip
        yield from classes_fold(table, overview.report.results)
