"""The pages of a report: judged tables as blocks to read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from resbench.report.blocks import Block, Command, Folded, Grid, Heading, Items, Page, Text
from resbench.report.cells import Place, PlaceKind
from resbench.report.collect import Results, seed_of
from resbench.report.data import report_data, report_rows
from resbench.report.judged import JudgedTable, number_notes
from resbench.report.labels import (
    cell_label,
    code_label,
    context_label,
    count,
    listed,
    mean_sd,
    p_value,
    percent,
    rerun_command,
    sentence,
    signed,
    source_label,
    superscript,
)
from resbench.suite.schema import ERROR_METRICS

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
    suite = None
    for table in tables:
        loaded = table.table.expanded.loaded
        if loaded.suite.name != suite:
            suite = loaded.suite.name
            blocks += [Heading(2, f"{suite}: {loaded.suite.title}"), Text(f"{sentence(source_label(loaded))}.")]
        blocks += table_blocks(table, ledger=ledger)
    return Page(tuple(blocks), report_data(tables, results, ledger), report_rows(tables))


def table_blocks(judged: JudgedTable, *, ledger: bool = False) -> Iterator[Block]:
    """Yield one table in one context with everything that belongs to it."""
    suite = judged.table.expanded.loaded.suite
    if suite.train:
        yield Heading(3, sentence(context_label(judged.table.expanded.context)))
    notes, numbers = number_notes(judged.places)
    yield _main_grid(judged, numbers)
    yield from _legend(judged)
    if notes:
        yield Items(tuple(notes), numbered=True)
    if suite.footnotes:
        yield Items(suite.footnotes)
    yield from _claims(judged)
    if judged.cost.runs:
        yield _cells_grid(judged)
        yield Text(_cost(judged))
    yield from _provenance(judged, ledger)
    if suite.train:
        yield Text("To train what is missing and keep what is there:")
        yield Command(rerun_command(judged.table))
    yield from _in_words(judged)
    if judged.cost.runs:
        yield _runs(judged)


def _main_grid(judged: JudgedTable, numbers: dict[tuple[str, str], list[int]]) -> Grid:
    """Return the table in the source's shape; a column becomes printed, ours, difference."""
    suite = judged.table.expanded.loaded.suite
    header, columns = [suite.table.row_header], [[_row_label(judged, r) for r in _rows(judged)]]
    groups = []
    for name, column in suite.table.columns.items():
        places = [place for place in judged.places if place.column == name]
        parts = {
            "printed": [_printed(place) for place in places],
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
    rows = tuple(zip(*columns, strict=True))
    return Grid(tuple(header), rows, "l" + "r" * (len(header) - 1), tuple(groups))


def _rows(judged: JudgedTable) -> list[str]:
    suite = judged.table.expanded.loaded.suite
    return list(suite.matrix[suite.table.rows])


def _row_label(judged: JudgedTable, row: str) -> str:
    suite = judged.table.expanded.loaded.suite
    return suite.matrix[suite.table.rows][row].label


def _printed(place: Place) -> str:
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
        legend.insert(0, "Ours: mean ± sd over seeds (how many; 2/3: one is missing), last epoch")
    if legend:
        yield Text(" · ".join(legend) + ".")
    if "not_comparable" in seen:
        reasons = dict.fromkeys(
            place.text.removeprefix("Not comparable: ").rstrip(".")
            for place in judged.places
            if place.kind == "not_comparable"
        )
        yield Text(f"Not comparable here: {' | '.join(reasons)}.")


def _claims(judged: JudgedTable) -> Iterator[Block]:
    """Yield the claims that have runs as a grid, and name the others."""
    rows = []
    for claim, verdict in ((item.claim, item.verdict) for item in judged.claims):
        if verdict.kind == "not_run":
            continue
        low, high = verdict.interval.low, verdict.interval.high
        rows.append((
            f"{claim.text} ({claim.place})",
            claim.printed_pp or "",
            signed(verdict.effect_pp),
            f"{low:+.2f} to {high:+.2f}" if math.isfinite(high - low) else "unknown",
            verdict.kind.replace("_", " "),
            str(verdict.n),
            p_value(verdict.raw_p),
            p_value(verdict.adjusted_p),
        ))  # fmt: skip
    if rows:
        levels = listed({f"{1 - 2 * item.claim.alpha:.0%}" for item in judged.claims})
        header = ("claim", "printed\npp", "ours\npp", f"interval\n{levels}", "verdict", "seeds", "p",
                  "p\nHolm")  # fmt: skip
        yield Grid(header, tuple(rows), "lrrrlrrr", (4, 3))
    waiting = [
        f"{item.claim.text} ({item.claim.place}"
        + (f"; printed {item.claim.printed_pp} pp)" if item.claim.printed_pp else ")")
        for item in judged.claims
        if item.verdict.kind == "not_run"
    ]
    if waiting:
        yield Folded(f"Claims without runs here ({len(waiting)})", (Items(tuple(waiting)),))


def _cells_grid(judged: JudgedTable) -> Grid:
    """Return every cell with all its errors: like meets like, and best-on-test is named so."""
    validated = any(run.result.val_in_train_err is not None for run in judged.table.records)
    header = ["cell", "seeds", "test", "train\naugmented", "validation\nin train"]
    header += ["best on test\n(not used for verdicts)", "parameters", "images/s", "hours"]
    rows = []
    for cell in judged.table.cells.values():
        if not cell.records:
            continue
        runs, results = cell.records, [run.result for run in cell.done]
        seeds = listed([seed_of(run) for run in cell.done])
        lost = listed([seed_of(run) for run in cell.diverged])
        rows.append((
            cell_label(judged.table.expanded.loaded, cell),
            "; ".join(filter(None, [seeds, f"diverged: {lost}" if lost else ""])),
            _mean([result.test_top1_err for result in results]),
            _mean([result.train_top1_err for result in results]),
            _mean([result.val_in_train_err for result in results]),
            _mean([result.best_test_top1_err for result in results]),
            f"{runs[0].model.parameters:,}",
            f"{sum(run.timing.images_per_s for run in runs) / len(runs):,.0f}",
            f"{sum(run.timing.total_s for run in runs) / 3600:.2f}",
        ))  # fmt: skip
    if not validated:
        del header[4]
        rows = [row[:4] + row[5:] for row in rows]
    groups = (len(header) - 4, 3)
    return Grid(tuple(header), tuple(rows), "ll" + "r" * (len(header) - 2), groups)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return percent(sum(known) / len(known)) if known else ""


def _cost(judged: JudgedTable) -> str:
    cost = judged.cost
    devices = ", ".join(f"{name} ({count(n, 'run')})" for name, n in cost.devices.items())
    parts = [count(cost.runs, "run"), f"{cost.device_hours:.2f} device hours", devices]
    if cost.images_per_s is not None:
        parts.append(f"{cost.images_per_s:,.0f} images/s (median)")
    if cost.resumed:
        parts.append(f"{cost.resumed} resumed")
    return f"Cost: {', '.join(parts)}."


def _provenance(judged: JudgedTable, ledger: bool) -> Iterator[Block]:
    if not judged.marks:
        return
    badges = " · ".join(f"{origin} {n}" for origin, n in judged.origins.items())
    yield Text(f"Where the settings come from: {badges}.")
    deviations: dict[str, list[str]] = {}
    for mark in judged.marks:
        if mark.origin == "deviation":
            known = deviations.setdefault(f"{mark.layer}: {mark.reason}", [])
            known.append(f"{mark.path} = {json.dumps(mark.value)}")
    if deviations:
        yield Items(tuple(
            f"deviation, {reason}: {listed(list(dict.fromkeys(settings)))}"
            for reason, settings in deviations.items()
        ))  # fmt: skip
    if ledger:
        rows = tuple(
            (mark.path, json.dumps(mark.value), mark.origin, mark.place, mark.reason or "", mark.layer)
            for mark in judged.marks
        )
        header = ("setting", "value", "origin", "place", "reason", "set by")
        yield Folded("Ledger of every setting", (Grid(header, rows, "llllll"),))


def _in_words(judged: JudgedTable) -> Iterator[Block]:
    suite = judged.table.expanded.loaded.suite
    silent = ("not_run", "shown", "skipped", "equal", "not_comparable")
    words = [
        f"{_row_label(judged, place.row)}, {suite.table.columns[place.column].label}: {place.text}"
        for place in judged.places
        if place.kind not in silent
    ]
    words += [
        f"{item.claim.text} {item.verdict.text}"
        for item in judged.claims
        if item.verdict.kind != "not_run"
    ]
    if words:
        yield Folded("Verdicts in words", (Items(tuple(words)),))


def _runs(judged: JudgedTable) -> Folded:
    header = ("cell", "seed", "status", "test", "run", "code", "data fingerprint", "device")
    rows = [
        (
            cell_label(judged.table.expanded.loaded, cell),
            str(seed_of(run)),
            run.status,
            percent(run.result.test_top1_err),
            run.key[:16],
            code_label(run),
            run.data.fingerprint[:16],
            run.environment.device_name,
        )
        for cell in judged.table.cells.values()
        for run in cell.records
    ]
    return Folded(f"Runs ({len(rows)})", (Grid(header, tuple(rows), "lrlrllll"),))
