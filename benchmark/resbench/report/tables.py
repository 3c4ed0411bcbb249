"""A judged table as blocks: the source's shape, then claims, cells, provenance and runs."""

from __future__ import annotations

import json
import math
import shlex
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from resbench.analysis import names
from resbench.analysis.claims import JudgedClaim
from resbench.analysis.judge import JudgedTable, Report, Run
from resbench.analysis.names import listed
from resbench.analysis.rows import cell_rows
from resbench.analysis.values import JudgedValue, notes_of
from resbench.report import text
from resbench.report.document import (
    Block,
    Cell,
    Command,
    Document,
    Effect,
    Fold,
    Heading,
    Items,
    Link,
    Number,
    Paragraph,
    Table,
    Verdict,
)
from resbench.suite.schema import SIGNAL_METRICS
from resbench.words import count

EFFECTS = (
    "Effects are in percentage points, of sizes within a network factors (×); positive, or above "
    "×1, means as claimed. For a chain of networks, effect "
    "and published effect are those of its weakest step, which is named; for a growing gap, they "
    "are the rise of a fitted line from the first level to the last."
)


def report_document(report: Report) -> Document:
    """Return all tables, a section for each suite, and what was refused."""
    runs = count(report.runs, "finished run")
    blocks: list[Block] = [
        Heading(1, "Published and measured"),
        Paragraph(f"{runs} in the results folder. Errors are top-1, in percent."),
    ]
    if report.problems:
        blocks += [Paragraph(f"Refused, in no table: {len(report.problems)}.")]
        blocks += [Items(report.problems)]
    if len(report.tables) > 1:
        blocks.append(_overview(report.tables))
    for suite, tables in report.by_suite.items():
        blocks += [
            Heading(2, f"{suite}: {tables[0].title}"),
            Paragraph(sources_line(tables[0])),
            *_in_no_table(report, suite),
        ]
        for i, table in enumerate(tables):
            blocks += table_blocks(table, first=i == 0)
    return Document(tuple(blocks), report, cell_rows(report))


def sources_line(table: JudgedTable) -> str:
    """Return where the sources publish the table."""
    cited = "; ".join(f"{source.title}, {source.where}" for source in table.sources)
    return f"{text.sentence(cited)}."


def table_blocks(
    table: JudgedTable, *, first: bool = True, runs: str | None = None
) -> Iterator[Block]:
    """Yield one table with everything that belongs to it.

    Notes and the ledger are about the source, so they stand below the ``first`` table of a suite.
    ``runs`` is the path of the folder of runs from the document; numbers have details with it.
    """
    if table.trained:
        yield Heading(3, text.sentence(table.setting.label))
    notes: dict[str, int] = {}
    yield _main_table(table, notes, runs)
    yield from _legend(table)
    if first:
        yield from [Items(tuple(notes), numbered=True)] if notes else []
        yield from [Items(table.footnotes)] if table.footnotes else []
    elif notes:
        yield Paragraph("Notes as above.")
    yield from _claims(table)
    if table.cost.runs:
        yield Heading(4, "Every cell, last epoch")
        yield _cells_table(table)
        yield Paragraph(_cost_line(table))
    yield from _provenance(table, ledger=first)
    if table.command:
        yield Paragraph("To train the missing runs:")
        yield Command(table.command)
    yield from _sentences(table)
    if table.cost.runs:
        yield _runs_fold(table)


def measured(
    value: JudgedValue, notes: tuple[int, ...] = (), details: tuple[Block, ...] = ()
) -> Number:
    """Return what was measured: mean, spread and number of runs, or what was built."""
    if value.verdict == "skipped":
        return Number("-", notes=notes)
    if value.is_error or value.metric == "train_time_min":
        shown = [f"{value.diverged} diverged"] if value.diverged else []
        if value.mean is not None:
            n = len(value.values)
            shown.insert(0, text.mean_sd(value.mean, value.sd, n, value.planned))
        said = ", ".join(shown) or "not run"
        return Number(said, value.mean, value.sd, notes=notes, details=details if shown else ())
    built = value.built or text.percent(value.mean, 3)
    return Number(
        built, value.mean, mark=text.mark(value), notes=notes, details=details if built else ()
    )


def published(value: JudgedValue, notes: tuple[int, ...] = ()) -> Number:
    """Return the published number as its source writes it."""
    try:
        return Number(value.number, float(value.number), notes=notes)
    except ValueError:  # a layer, an output size, nothing
        return Number(value.number, notes=notes)


def details_of(table: JudgedTable, value: JudgedValue, runs: str | None) -> tuple[Block, ...]:
    """Return what a measured number is made of: verdict, seeds with their runs, marks, command."""
    if runs is None:
        return ()
    cell = next(cell for cell in table.cells if cell.cell == value.cell)
    blocks: list[Block] = [Heading(5, table.label_of(value)), Paragraph(value.text)]
    errors = dict(zip((run.key for run in cell.done), value.values, strict=False))
    if cell.runs:
        rows = tuple(
            (
                str(run.seed),
                _one(run, errors.get(run.key), value),
                Link(run.key[:16], f"{runs}/{run.key[:16]}/"),
            )
            for run in cell.runs
        )
        blocks.append(Table(("seed", names.METRICS[value.metric], "run"), rows, "lrl"))
    facts = list[str]()
    if value.interval is not None and value.is_error:
        low, high = value.interval
        facts.append(f"One more run would be expected between {low:.2f} and {high:.2f} (95 %).")
    facts += notes_of(value)
    if table.origins:
        marks = " · ".join(f"{origin} {n}" for origin, n in table.origins.items())
        facts.append(f"Settings of the table by where they come from: {marks}.")
    blocks += [Items(tuple(facts))] if facts else []
    blocks += [Command(f"{table.train} --cell {shlex.quote(cell.cell)}")] if cell.runs else []
    return tuple(blocks)


def _one(run: Run, number: float | None, value: JudgedValue) -> Number:
    """Return what one run measured, or how it ended."""
    shown = text.percent(number) if value.is_error or number is None else f"{number:.4g}"
    return Number(shown or run.status, number)


def _main_table(table: JudgedTable, notes: dict[str, int], runs: str | None) -> Table:
    """Return the table in the source's shape, and number its notes in reading order.

    A column becomes three: published, measured and their difference, where there is any.
    """
    numbers = {
        (value.row, value.column): tuple(
            notes.setdefault(note, len(notes) + 1) for note in notes_of(value)
        )
        for value in table.values
    }
    header, groups = [table.row_header], list[int]()
    columns: list[list[Cell]] = [list(table.rows.values())]
    for name, column in table.columns.items():
        values = [value for value in table.values if value.column == name]
        parts: dict[str, list[Cell]] = {}
        noted = [numbers[value.row, name] for value in values]
        if any(value.number for value in values):
            parts["published"] = [published(v, n) for v, n in zip(values, noted, strict=True)]
            noted = [()] * len(values)
        parts["measured"] = [
            measured(v, n, details_of(table, v, runs)) for v, n in zip(values, noted, strict=True)
        ]
        if any(v.is_error and (v.difference is not None or text.mark(v)) for v in values):
            parts["difference"] = [_difference(value) for value in values]
        titles = list(parts) if len(parts) > 1 else [""]
        header += [f"{column.label}\n{titles[0]}".strip(), *titles[1:]]
        columns += parts.values()
        groups.append(len(parts))
    rows = tuple(zip(*columns, strict=True))
    return Table(tuple(header), rows, "l" + "r" * (len(header) - 1), tuple(groups))


def _difference(value: JudgedValue) -> Number:
    if not value.is_error:
        return Number("")
    return Number(text.signed(value.difference), value.difference, mark=text.mark(value))


def _legend(table: JudgedTable) -> Iterator[Block]:
    seen = {value.verdict for value in table.values}
    legend = [" ".join(words) for kind, words in text.VALUES.items() if kind in seen]
    if table.cost.runs:
        lacks = any(0 < len(value.values) < value.planned for value in table.values)
        many = "how many; 2/3: one is missing" if lacks else "how many"
        legend.insert(0, f"Measured: mean ± sd over seeds ({many}), last epoch")
    if legend:
        yield Paragraph(f"{' · '.join(legend)}.")
    if reasons := dict.fromkeys(
        "; ".join(value.reasons) for value in table.values if value.reasons
    ):
        yield Paragraph(f"Not comparable here: {' | '.join(reasons)}.")


def _claims(table: JudgedTable) -> Iterator[Block]:
    """Yield the claims that have runs as a table, and name the others."""
    if not table.claims:
        return
    yield Heading(4, "Claims")
    judged = [claim for claim in table.claims if claim.has_runs]
    if judged:
        yield claims_table(judged, place=True)
        yield Paragraph(EFFECTS)
    waiting = tuple(
        f"{claim.claim.text} ({claim.claim.place}"
        + (f"; published {claim.claim.published_pp} pp)" if claim.claim.published_pp else ")")
        for claim in table.claims
        if not claim.has_runs
    )
    if waiting:
        yield Fold(f"Claims without runs here ({len(waiting)})", (Items(waiting),))


def claims_table(
    claims: Sequence[JudgedClaim], settings: Sequence[str] = (), *, place: bool = False
) -> Table:
    """Return a row for each claim with runs, all on one axis.

    Each is followed by its setting, if they are given; with its ``place`` in its source goes p.
    """
    reach = _reach(claims)
    header = ["claim", "published\npp", "measured\npp", "interval\n95%", "verdict"]
    header += ["published\nevidence", "seeds", *(["p"] if place else []), "p\nadjusted"]
    header += ["setting"] if settings else []
    rows: list[tuple[Cell, ...]] = []
    for i, claim in enumerate(claims):
        tone = text.TONES.get(claim.verdict, "open")
        details = (Heading(5, claim.claim.text), Paragraph(text.claim_sentence(claim)))
        seeds = claim.look or claim.n
        # a factor between sizes has no place on an axis of percentage points
        points = claim.claim.metric not in SIGNAL_METRICS
        marks = (claim.effect_pp, claim.interval, claim.published_pp) if points else (None,) * 3
        rows.append((
            claim_text(claim.claim.text, claim.step) + place * f" ({claim.claim.place})",
            Number(text.signed(claim.published_pp), claim.published_pp),
            Number(text.amount(claim, claim.effect_pp), claim.effect_pp, details=details),
            Effect(text.amounts(claim), *marks, reach, tone),
            Verdict(text.verdict_of(claim), tone),
            text.published_evidence(claim),
            Number(str(seeds), seeds),
            *([Number(text.p_value(claim.p), claim.p)] if place else []),
            Number(text.p_value(claim.p_adjusted), claim.p_adjusted),
            *settings[i : i + 1],
        ))  # fmt: skip
    align = "lrrrllrr" + "r" * place + "l" * bool(settings)
    return Table(tuple(header), tuple(rows), align, (4, len(header) - 5))


def _reach(claims: Sequence[JudgedClaim]) -> float:
    """Return where an axis of effects ends, so that one outlier does not squeeze the others."""
    claims = [claim for claim in claims if claim.claim.metric not in SIGNAL_METRICS]
    effects = [abs(v) for c in claims for v in (c.effect_pp, c.published_pp) if v is not None]
    if not effects:
        return 1.0
    most = min(max(effects), 4 * statistics.median(effects))
    ends = [abs(end) for claim in claims for end in claim.interval or ()]
    return max(0.5, min(1.15 * max([*ends, *effects]), 2.5 * most))


def claim_text(claim: str, step: str | None) -> str:
    """Return a claim's text with the step of a chain that its numbers are about."""
    return f"{claim} (Weakest step: {step}.)" if step else claim


def _cells_table(table: JudgedTable) -> Table:
    """Return every cell with all its errors, each under its own name."""
    validated = any(run.result.val_in_train_err is not None for run in table.runs.values())
    header = ["cell", "seeds", "test", "train\naugmented"]
    header += ["validation\nin train"] if validated else []
    header += ["best on test\n(not used for verdicts)", "parameters", "images/s", "hours"]
    rows = []
    for cell in (cell for cell in table.cells if cell.runs):
        results = [run.result for run in cell.done]
        lost = listed(run.seed for run in cell.runs if run.status == "diverged")
        seeds = [listed(run.seed for run in cell.done), f"diverged: {lost}" if lost else ""]
        row: list[Cell] = [cell.label, "; ".join(filter(None, seeds))]
        row += [_mean([result.test_top1_err for result in results])]
        row += [_mean([result.train_top1_err for result in results])]
        row += [_mean([result.val_in_train_err for result in results])] if validated else []
        row += [
            _mean([result.best_test_top1_err for result in results]),
            f"{cell.runs[0].parameters:,}",
            f"{sum(run.images_per_s for run in cell.runs) / len(cell.runs):,.0f}",
            f"{sum(run.total_s for run in cell.runs) / 3600:.2f}",
        ]
        rows.append(tuple(row))
    return Table(
        tuple(header), tuple(rows), "ll" + "r" * (len(header) - 2), (1,) * (len(header) - 1)
    )


def _mean(values: Sequence[float | None]) -> Number:
    known = [value for value in values if value is not None]
    mean = math.fsum(known) / len(known) if known else None
    return Number(text.percent(mean), mean)


def _cost_line(table: JudgedTable) -> str:
    cost = table.cost
    parts = [count(cost.runs, "run"), f"{cost.device_hours:.2f} device hours"]
    parts += [f"{name} ({count(n, 'run')})" for name, n in cost.devices.items()]
    parts += [f"{cost.images_per_s:,.0f} images/s (median)"] if cost.images_per_s else []
    parts += [f"{cost.resumed} resumed"] if cost.resumed else []
    return f"Cost: {', '.join(parts)}."


def _provenance(table: JudgedTable, *, ledger: bool) -> Iterator[Block]:
    """Yield where the settings come from: numbers, every deviation, the whole ledger folded."""
    if not table.settings:
        return
    origins = " · ".join(f"{origin} {n}" for origin, n in table.origins.items())
    yield Paragraph(f"Where the settings come from: {origins}.")
    deviations: dict[str, dict[str, None]] = {}
    for entry in (entry for entry in table.settings if entry.origin == "deviation"):
        known = deviations.setdefault(f"{entry.place}, {entry.reason}", {})
        known[f"{entry.path} = {json.dumps(entry.value)}"] = None
    if deviations:
        yield Items(tuple(f"deviation, {why}: {listed(own)}" for why, own in deviations.items()))
    if ledger:
        header = ("setting", "value", "origin", "place", "reason", "set by")
        rows = tuple(
            (e.path, json.dumps(e.value), e.origin, e.place, e.reason or "", e.layer)
            for e in table.settings
        )
        yield Fold("Ledger of every setting", (Table(header, rows, "llllll"),))


def _sentences(table: JudgedTable) -> Iterator[Block]:
    silent = ("not_run", "shown", "skipped", "equal", "not_comparable")
    found = [f"{table.label_of(v)}: {v.text}" for v in table.values if v.verdict not in silent]
    found += [f"{c.claim.text} {text.claim_sentence(c)}" for c in table.claims if c.has_runs]
    if found:
        yield Fold("Verdicts in words", (Items(tuple(found)),))


def _runs_fold(table: JudgedTable) -> Fold:
    """Return every run behind the table, with what leads to its files, code and images."""
    header = ("cell", "seed", "status", "test", "run", "code", "data fingerprint", "device")
    rows = [_run_row(cell.label, run) for cell in table.cells for run in cell.runs]
    return Fold(f"Runs ({len(rows)})", (Table(header, tuple(rows), "lrlrllll"),))


def _run_row(label: str, run: Run) -> tuple[Cell, ...]:
    error = Number(text.percent(run.result.test_top1_err), run.result.test_top1_err)
    where = (run.key[:16], run.code, run.data_fingerprint[:16], run.device)
    return (label, str(run.seed), run.status, error, *where)


def _overview(tables: Sequence[JudgedTable]) -> Table:
    """Return a row for each table: how much has run and what came of it."""
    rows = []
    for table in tables:
        kinds = Counter(value.verdict for value in table.values)
        signs = [f"{kinds[kind]} {text.VALUES[kind][0]}" for kind in text.VALUES if kinds[kind]]
        verdicts = Counter(text.verdict_of(claim) for claim in table.claims if claim.has_runs)
        asked = sum(len(cell.seeds) for cell in table.cells)
        rows.append((
            table.suite,
            table.setting.label if table.cost.runs else "",
            f"{table.cost.runs}/{asked}" if table.trained else "counted",
            ", ".join(signs),
            listed(f"{n} {words}" for words, n in verdicts.items())
            or (f"{len(table.claims)} not run" if table.claims else ""),
        ))  # fmt: skip
    return Table(("suite", "setting", "runs", "values", "claims"), tuple(rows), "llrll")


def _in_no_table(report: Report, suite: str) -> Iterator[Block]:
    """Say which runs of a suite stand in none of its numbers."""
    if n := report.unfinished.get(suite):
        yield Paragraph(f"{count(n, 'unfinished run')}: `resbench status` lists them.")
    if n := report.outdated.get(suite):
        yield Paragraph(
            f"{count(n, 'finished run')} of this suite in none of its tables: its file, protocol "
            "or tier has changed since."
        )
