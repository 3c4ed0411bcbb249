"""The pages of a report: judged tables as blocks to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from resbench.analysis.cells import Place, PlaceKind
from resbench.analysis.judge import JudgedTable, number_notes
from resbench.analysis.names import (
    RESULTS,
    context_label,
    mean_sd,
    percent,
    rerun_command,
    sentence,
    signed,
    source_label,
    superscript,
)
from resbench.analysis.results import Results, places_of
from resbench.analysis.tables import orphans
from resbench.report.data import report_data, report_rows
from resbench.report.details import (
    cells_grid,
    claims_blocks,
    cost_line,
    provenance_blocks,
    runs_block,
    words_blocks,
)
from resbench.report.document import Block, Command, Grid, Heading, Items, Page, Text
from resbench.suite.schema import ERROR_METRICS
from resbench.words import count

MARKS: dict[PlaceKind, tuple[str, str]] = {
    "replicated": ("✓", "replicated: the printed number could be one more run of ours"),
    "better": ("↓", "better: our error is lower than printed, by more than runs differ"),
    "worse": ("↑", "worse: our error is higher than printed, by more than runs differ"),
    "inconclusive": ("?", "inconclusive: too few runs, or runs that differ too much, to say"),
    "equal": ("=", "equal to print, after rounding"),
    "differs": ("≠", "differs from print"),
    "not_comparable": ("○", "not comparable"),
}


def report_page(tables: Sequence[JudgedTable], results: Results, *, ledger: bool = False) -> Page:
    """Return all tables, a section per suite, and what was refused."""
    runs = len(results.scan.records)
    blocks: list[Block] = [
        Heading(1, "Printed and ours"),
        Text(f"{count(runs, 'finished run')} in the results folder. Errors are top-1, in percent."),
    ]
    if results.problems:
        blocks += [Text(f"Refused or damaged, in no table: {len(results.problems)}.")]
        blocks += [Items(results.problems)]
    if len(tables) > 1:
        blocks.append(_overview(tables))
    suites: dict[str, list[JudgedTable]] = {}
    for table in tables:
        suites.setdefault(table.suite, []).append(table)
    for suite, own in suites.items():
        loaded = own[0].table.expanded.loaded
        blocks += [
            Heading(2, f"{suite}: {loaded.suite.title}"),
            Text(f"{sentence(source_label(loaded))}."),
            *_outside(suite, own, results),
        ]
        for i, table in enumerate(own):
            above = i > 0
            blocks += table_blocks(table, ledger=ledger, notes_above=above, results=results.path)
    return Page(tuple(blocks), report_data(tables, results, ledger), report_rows(tables))


def _outside(suite: str, tables: Sequence[JudgedTable], results: Results) -> Iterator[Block]:
    """Say which runs of a suite stand in none of its numbers."""
    filled = [table.table for table in tables]
    begun = {run.key for table in filled for cell in table.cells.values() for run in cell.begun}
    if begun:
        yield Text(
            f"{count(len(begun), 'run')} begun and not finished; `resbench status` says more."
        )
    strays = [
        run for run in orphans(filled, results)
        if any(place.startswith(f"{suite} ") for place in places_of(run))
    ]  # fmt: skip
    if strays:
        yield Text(
            f"{count(len(strays), 'finished run')} of this suite in none of its tables: its file, "
            "protocol or tier is another one now."
        )


def _overview(tables: Sequence[JudgedTable]) -> Grid:
    """Return one row per table: how much has run and what came of it."""
    rows = []
    for judged in tables:
        kinds = Counter(place.kind for place in judged.places if place.kind in MARKS)
        verdicts = [f"{kinds[kind]} {MARKS[kind][0]}" for kind in MARKS if kinds[kind]]
        confirmed = sum(item.verdict.kind == "confirmed" for item in judged.claims)
        asked = sum(len(cell.seeds) for cell in judged.table.cells.values())
        trained = judged.table.expanded.loaded.suite.train
        rows.append((
            judged.suite,
            context_label(judged.table.expanded.context) if judged.cost.runs else "",
            f"{judged.cost.runs}/{asked}" if trained else "counted",
            " ".join(verdicts),
            f"{confirmed}/{len(judged.claims)}" if judged.claims and judged.cost.runs else "",
        ))  # fmt: skip
    header = ("suite", "context", "runs", "places", "claims\nconfirmed")
    return Grid(header, tuple(rows), "llrrr")


def table_blocks(
    judged: JudgedTable,
    *,
    ledger: bool = False,
    notes_above: bool = False,
    results: Path = RESULTS,
) -> Iterator[Block]:
    """Yield one table in one context with everything that belongs to it.

    Notes are about the printed numbers, so they are the same in every context of a suite and stand
    below its first table only. ``results`` is the folder that its command names.
    """
    suite = judged.table.expanded.loaded.suite
    if suite.train:
        yield Heading(3, sentence(context_label(judged.table.expanded.context)))
    notes, numbers = number_notes(judged.places)
    yield _main_grid(judged, numbers)
    yield from _legend(judged)
    if notes_above and notes:
        yield Text("Notes as above.")
    elif not notes_above:
        yield from [Items(tuple(notes), numbered=True)] if notes else []
        yield from [Items(suite.footnotes)] if suite.footnotes else []
    yield from claims_blocks(judged)
    if judged.cost.runs:
        yield Heading(4, "Every cell, last epoch")
        yield cells_grid(judged)
        yield Text(cost_line(judged))
    yield from provenance_blocks(judged, ledger)
    if judged.table.lacks_runs:
        yield Text("To train what is missing and keep what is there:")
        yield Command(rerun_command(judged.table, results))
    yield from words_blocks(judged)
    if judged.cost.runs:
        yield runs_block(judged)


def _main_grid(judged: JudgedTable, numbers: dict[tuple[str, str], list[int]]) -> Grid:
    """Return the table in the source's shape; a column becomes printed, ours, difference."""
    suite = judged.table.expanded.loaded.suite
    rows = suite.matrix[suite.table.rows].values()
    header, columns = [suite.table.row_header], [[level.label for level in rows]]
    groups = []
    for name, column in suite.table.columns.items():
        places = [place for place in judged.places if place.column == name]
        parts = {
            "printed": [printed_text(place) for place in places],
            "ours": [_ours(place) for place in places],
            "difference": [_difference(place) for place in places],
        }
        shown = [part for part, texts in parts.items() if part == "ours" or any(texts)]
        notes = [superscript(numbers[place.row, name]) for place in places]
        noted = parts[shown[0]]
        parts[shown[0]] = [f"{text} {n}".strip() for text, n in zip(noted, notes, strict=True)]
        titles = shown if len(shown) > 1 else [""]
        groups.append(len(shown))
        header += [f"{column.label}\n{titles[0]}".strip(), *titles[1:]]
        columns += [parts[part] for part in shown]
    cells = tuple(zip(*columns, strict=True))
    return Grid(tuple(header), cells, "l" + "r" * (len(header) - 1), tuple(groups))


def printed_text(place: Place) -> str:
    """Return the printed number; nothing for a blank place."""
    return (place.printed.value or "") if place.printed else ""


def _ours(place: Place) -> str:
    if place.kind == "skipped":
        return "-"
    if place.metric in ERROR_METRICS or place.metric == "train_time_min":
        diverged = len(place.cell.diverged)
        parts = [f"{diverged} diverged"] if diverged else []
        if place.mean is not None:
            parts.insert(0, mean_sd(place.mean, place.sd, len(place.values), len(place.cell.seeds)))
        return ", ".join(parts) or "not run"
    text = place.ours or percent(place.mean, 3)
    return f"{text} {_mark(place)}".strip()


def _difference(place: Place) -> str:
    if place.metric not in ERROR_METRICS:
        return ""
    return f"{signed(place.difference)} {_mark(place)}".strip()


def _mark(place: Place) -> str:
    return MARKS[place.kind][0] if place.kind in MARKS else ""


def _legend(judged: JudgedTable) -> Iterator[Block]:
    seen = dict.fromkeys(place.kind for place in judged.places if place.kind in MARKS)
    legend = [" ".join(MARKS[kind]) for kind in MARKS if kind in seen]
    if judged.cost.runs:
        lacks = any(p.values and len(p.values) < len(p.cell.seeds) for p in judged.places)
        many = "how many; 2/3: one is missing" if lacks else "how many"
        legend.insert(0, f"Ours: mean ± sd over seeds ({many}), last epoch")
    if legend:
        yield Text(" · ".join(legend) + ".")
    if "not_comparable" in seen:
        reasons = dict.fromkeys(
            place.text.removeprefix("Not comparable: ").rstrip(".")
            for place in judged.places
            if place.kind == "not_comparable"
        )
        yield Text(f"Not comparable here: {' | '.join(reasons)}.")
