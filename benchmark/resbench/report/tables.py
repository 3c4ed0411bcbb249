"""A judged table as blocks: the source's shape, then claims, cells, provenance and runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import fmean

from resbench.analysis.claims import JudgedClaim
from resbench.analysis.classes import errors_by_class
from resbench.analysis.judge import JudgedTable, Run
from resbench.analysis.names import listed
from resbench.analysis.values import JudgedValue
from resbench.report import document as doc
from resbench.report import text
from resbench.suite.metrics import METRICS
from resbench.suite.schema import ERROR_METRICS, SIGNAL_METRICS, Metric
from resbench.words import count

AS_CLAIMED = (
    "Effects are in percentage points, or factors (×) for sizes within a network; positive, or "
    "above ×1, means as claimed."
)
EFFECTS = (
    f"{AS_CLAIMED} For a chain of networks, the numbers are those of one step: the "
    "one that decides, else the weakest. Intervals are those of one claim and one look; p is "
    "adjusted for all. For a growing gap, the effect is the rise of a fitted "
    "line from the first level to the last. Published evidence is the published difference divided "
    "by the sd of a difference between two single runs, measured at the published setting or else "
    "a usual value. With no failure in 3, 5 or 8 seeds, up to 63, 45 or 31 % of runs may still "
    "fail."
)
ALIKE = (
    " Where two cells are claimed to be alike, the effect is the second's error minus the first's, "
    "and no sign is as claimed."
)


def effects(claims: Iterable[JudgedClaim], *, brief: bool = False) -> doc.Paragraph:
    """Return what the numbers of these claims mean."""
    alike = any(claim.claim.margin_pp is not None for claim in claims)
    return doc.Paragraph((AS_CLAIMED if brief else EFFECTS) + (ALIKE if alike else ""))


def table_blocks(
    table: JudgedTable, first: JudgedTable | None = None, *, results: str = "", runs: str = ""
) -> Iterator[doc.Block]:
    """Yield one table with everything that belongs to it.

    The ``first`` table of its suite has the ledger, and notes that others need not repeat.
    Errors by class are read from ``results``, if given. ``runs`` is the path of the folder of runs
    from the document; numbers have details with it.
    """
    first = first or table
    is_first, notes = table is first, _notes(table)
    if table.trained:
        yield doc.Heading(3, text.sentence(table.setting.label))
    if table.setting.changes:
        yield doc.Paragraph(f"{text.sentence(table.setting.changes)}.")
    yield _main_table(table, notes, runs)
    yield from _legend(table)
    if notes:
        repeated = not is_first and notes == _notes(first)
        yield doc.Paragraph("Notes as above.") if repeated else doc.Items(notes, numbered=True)
    if is_first and table.footnotes:
        yield doc.Items(table.footnotes)
    if table.claims:
        yield doc.Heading(4, "Claims")
        yield from _claims(table, runs)
    if table.has_runs:
        yield doc.Heading(4, "Every cell, at the end of training")
        yield _cells_table(table)
        hours = sum(run.total_s for run in table.runs.values()) / 3600
        yield doc.Paragraph(
            f"Cost: {count(len(table.runs), 'run')}, {hours:.2f} device hours; those of a cell are "
            "of all its seeds. Machines may have done other work meanwhile: times do not rank "
            "networks."
        )
    if table.settings:
        yield from _provenance(table, ledger=is_first)
    if table.trained and table.lacks_runs:
        yield doc.Paragraph("To train the missing runs:")
        yield doc.Command(table.command)
    yield from _sentences(table)
    if table.has_runs:
        yield _runs_fold(table)
        yield from _classes_fold(table, results) if results else ()


def claims_table(
    found: Sequence[tuple[JudgedTable, JudgedClaim]],
    runs: str = "",
    suites: Sequence[str] = (),
) -> doc.Table:
    """Return a row for each claim with runs, all on one axis.

    ``runs`` is the path of the folder of runs from the document. Claims of several ``suites`` are
    grouped by them; those of one suite come with their place in the source.
    """
    # factors and percentage points have no axis in common: then only the latter are drawn
    sizes = all(claim.claim.metric in SIGNAL_METRICS for _, claim in found)
    axis = _axis([c for _, c in found if (c.claim.metric in SIGNAL_METRICS) == sizes])
    unit = "factor" if sizes else "pp"
    header = ("claim", f"published\n{unit}", f"measured\n{unit}", "interval\n95%", "verdict",
              "published\nevidence", "seeds", "p\nadjusted")  # fmt: skip
    rows: list[list[doc.Cell]] = []
    for i, (table, claim) in enumerate(found):
        verdict = text.CLAIMS[claim.verdict]
        origin = ["a claim of ours"] if claim.claim.ours else []
        origin += [] if suites else [claim.claim.place.rstrip(".")]
        whose = f" ({text.sentence('; '.join(origin))}.)" if origin else ""
        step = f" (Step: {table.step_of(claim)}.)" if claim.step else ""
        lost = f" ({text.sentence(text.lost_runs(claim))}.)" if claim.diverged else ""
        said = doc.Heading(5, claim.claim.text), doc.Paragraph(text.claim_sentence(claim))
        details = (*said, *_runs_of(table, claim, runs))
        seeds, (_, p) = claim.look or claim.n, text.deciding_p(claim)
        drawn = (claim.claim.metric in SIGNAL_METRICS) == sizes
        marks = (claim.effect_pp, claim.interval, claim.published_pp) if drawn else (None,) * 3
        rows.append([
            f"{claim.claim.text}{whose}{step}{lost}",
            doc.Number(text.amount(claim, claim.published_pp), claim.published_pp),
            doc.Number(text.amount(claim, claim.effect_pp), claim.effect_pp, details=details),
            doc.Effect(text.amounts(claim, claim.interval), *marks, axis, verdict.tone, sizes),
            verdict,
            text.published_evidence(claim),
            doc.Number(str(seeds), seeds),
            doc.Number(text.p_value(p), p),
            *suites[i:i + 1],
        ])  # fmt: skip
    if not suites:
        return doc.Table(header, rows, "lrrrllrr", (4, 3))
    return doc.Table((*header, "suite"), rows, "lrrrllrrl", (4, 4), by_last=True)


def claims_in_brief(found: Sequence[tuple[JudgedTable, JudgedClaim]]) -> doc.Table:
    """Return the same without p and the evidence, and with a suite only where words need it."""
    suites = [table.suite for table, _ in found]
    unclear = text.ambiguous((table.suite, claim.claim) for table, claim in found)
    whole, rows = claims_table(found, suites=suites), list[list[doc.Cell]]()
    for (table, claim), (said, *numbers) in zip(found, whole.rows, strict=True):
        suite = f" (Suite {table.suite}.)" if claim.claim.text in unclear else ""
        rows.append([f"{doc.shown(said)}{suite}", *numbers[:4], numbers[5]])
    return doc.Table((*whole.header[:5], whole.header[6]), rows, "lrrrlr")


def _axis(claims: Sequence[JudgedClaim]) -> tuple[float, float]:
    """Return the ends of an axis with every effect and zero on it.

    Intervals are cut off where they are far wider than all effects, as those of two seeds may be.
    """
    effects = [0.0, *(v for c in claims for v in (c.effect_pp, c.published_pp) if v is not None)]
    most = 1.8 * max(0.3, *map(abs, effects))
    ends = [max(-most, min(most, end)) for claim in claims for end in claim.interval or ()]
    low, high = min([*effects, *ends]), max([*effects, *ends])
    margin = max(0.25, 0.06 * (high - low))
    return low - margin, high + margin


def _runs_of(table: JudgedTable, claim: JudgedClaim, runs: str) -> Iterator[doc.Block]:
    """Yield the runs of the cells that a claim compares, for a document with links to runs."""
    if not runs:
        return
    metric = claim.claim.metric
    errors = {key: getattr(run.result, metric, None) for key, run in table.runs.items()}
    for value in table.values:
        errors |= value.values if value.metric == metric else {}
    rows = [
        (cell.label, *_run_cells(run, metric, errors[run.key], runs))
        for cell in table.cells if cell.cell in claim.cells for run in cell.runs
    ]  # fmt: skip
    if rows:
        yield doc.Table(("cell", "seed", METRICS[metric].label, "run"), rows, "llrl")


def _run_cells(run: Run, metric: Metric, number: float | None, runs: str) -> tuple[doc.Cell, ...]:
    """Return the seed of a run, what it measured or how it ended, and a link to it."""
    shown = text.percent(number)
    if number is not None and metric not in ERROR_METRICS:
        shown = f"{number:.4g}"
    link = doc.Link(run.key[:16], f"{runs}/{run.key[:16]}/")
    return str(run.seed), doc.Number(shown or run.status, number), link


def _notes(table: JudgedTable) -> list[str]:
    """Return the notes of a table in reading order, each once."""
    return list(dict.fromkeys(note for value in table.values for note in text.notes_of(value)))


def _main_table(table: JudgedTable, notes: Sequence[str], runs: str) -> doc.Table:
    """Return the table in the source's shape, its numbers with those of their ``notes``.

    A column becomes three: published, measured and their difference, where there is any.
    """
    numbers = {
        (value.row, value.column): [notes.index(note) + 1 for note in text.notes_of(value)]
        for value in table.values
    }
    header, groups = [table.row_header], list[int]()
    columns: list[Sequence[doc.Cell]] = [list(table.rows.values())]
    for name, column in table.columns.items():
        values = [value for value in table.values if value.column == name]
        parts: dict[str, list[doc.Number]] = {}
        if any(value.number for value in values):
            parts["published"] = [doc.Number(v.number, v.published_number) for v in values]
        parts["measured"] = [_measured(table, v, runs) for v in values]
        if any(v.is_error and (v.difference is not None or text.mark(v)) for v in values):
            parts["difference"] = [
                doc.Number(text.signed(v.difference), v.difference, text.mark(v))
                if v.is_error else doc.Number("") for v in values
            ]  # fmt: skip
        for i, value in enumerate(values):  # at what the notes are about
            about = parts["published" if value.number else "measured"]
            about[i] = replace(about[i], notes=numbers[value.row, name])
        titles = list(parts)
        header += [f"{column.label}\n{titles[0]}" if titles[1:] else column.label, *titles[1:]]
        columns += parts.values()
        groups.append(len(parts))
    rows = list(zip(*columns, strict=True))
    return doc.Table(header, rows, "l" + "r" * (len(header) - 1), groups)


def _measured(table: JudgedTable, value: JudgedValue, runs: str) -> doc.Number:
    """Return a measured number; for a document with links to runs, what it is made of."""
    mark = "" if value.is_error else text.mark(value)  # an error has it at its difference
    shown = doc.Number(text.measured(value), value.mean, mark)
    if not runs or (value.mean is None and not value.built and not value.diverged):
        return shown
    cell = next(cell for cell in table.cells if cell.cell == value.cell)
    said = (text.value_sentence(value), *text.notes_of(value))
    details: list[doc.Block] = [doc.Heading(5, table.label_of(value)), doc.Items(said)]
    if cell.runs:
        rows = [_run_cells(run, value.metric, value.values.get(run.key), runs) for run in cell.runs]
        details += [
            doc.Table(("seed", METRICS[value.metric].label, "run"), rows, "lrl"),
            doc.Command(f"{table.command} --cell {shlex.quote(cell.cell)}"),
        ]
    return replace(shown, details=details)


def _legend(table: JudgedTable) -> Iterator[doc.Block]:
    seen = {value.verdict for value in table.values}
    legend = [" ".join(words) for kind, words in text.VALUES.items() if kind in seen]
    if numbers := [len(value.values) for value in table.values if value.values]:
        lacking = ((len(v.values), v.planned) for v in table.values)
        n, planned = next(((n, of) for n, of in lacking if 0 < n < of), (0, 0))
        many = f" ({n}/{planned}: {n} of the {planned} planned)" if planned else ""
        when = ", last epoch" if any(value.is_error for value in table.values) else ""
        legend.insert(0, f"Measured: {text.of_seeds(numbers)}{many}{when}")
    if any(0 < value.look < len(value.values) for value in table.values):
        legend.append("a judged difference uses the first 3, 5 or 8 seeds only")
    if legend:
        yield doc.Paragraph(f"{' · '.join(legend)}.")
    compared = [v.reasons for v in table.values if v.verdict == "not_comparable"]
    if reasons := dict.fromkeys("; ".join(found) for found in compared):
        yield doc.Paragraph(f"Why not comparable: {' | '.join(reasons)}.")


def _claims(table: JudgedTable, runs: str) -> Iterator[doc.Block]:
    """Yield the claims that have runs as a table, and name the others."""
    judged = [claim for claim in table.claims if claim.has_runs]
    if judged:
        yield claims_table([(table, claim) for claim in judged], runs)
    waiting = [claim for claim in table.claims if not claim.has_runs]
    if waiting:
        lacking = dict.fromkeys(map(_lacking, waiting))
        title = f"Claims {' or '.join(lacking)} here ({len(waiting)})"
        yield doc.Fold(title, [doc.Items(list(map(_waiting, waiting)))])


def _lacking(judged: JudgedClaim) -> str:
    """Return what a claim's cells lack: a run that diverged may not have measured a size."""
    return "not measured" if judged.claim.metric in SIGNAL_METRICS else "without runs"


def _waiting(judged: JudgedClaim) -> str:
    """Return a claim that lacks runs, its source, and which runs where it has some."""
    claim, own = judged.claim, "ours, " if judged.claim.ours else ""
    published = f"published {claim.published_pp} pp" if claim.published_pp else ""
    if claim.published_pp and claim.metric in SIGNAL_METRICS:
        published = f"published ×{text.factor(float(claim.published_pp))}"
    some = len(judged.missing) < len(judged.cells)
    lacking = f"{_lacking(judged)}: {listed(judged.missing)}" if some else ""
    return f"{claim.text} ({'; '.join(filter(None, (f'{own}{claim.place}', published, lacking)))})"


def _cells_table(table: JudgedTable) -> doc.Table:
    """Return every cell with all its errors, each under its own name."""
    errors = {
        "test": "test_top1_err",
        "train\naugmented": "train_top1_err",
        "validation\nin train": "val_in_train_err",
        "best on test\n(not used for verdicts)": "best_test_top1_err",
    }
    if all(run.result.val_in_train_err is None for run in table.runs.values()):
        del errors["validation\nin train"]
    rows: list[list[doc.Cell]] = []
    for cell in (cell for cell in table.cells if cell.runs):
        lost = listed(run.seed for run in cell.runs if run.status == "diverged")
        seeds = [listed(run.seed for run in cell.done), f"diverged: {lost}" if lost else ""]
        speed = _mean(run.images_per_s or None for run in cell.runs)  # 0: not one epoch
        rows.append([
            cell.label,
            "; ".join(filter(None, seeds)),
            *(
                _percent(_mean(getattr(run.result, name) for run in cell.done))
                for name in errors.values()
            ),
            f"{cell.runs[0].parameters:,}",
            f"{speed:,.0f}" if speed else "",
            f"{sum(run.total_s for run in cell.runs) / 3600:.2f}",
        ])  # fmt: skip
    header = ("cell", "seeds", *errors, "parameters", "images/s", "hours")
    return doc.Table(header, rows, "ll" + "r" * (len(header) - 2), (1,) * (len(header) - 1))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _percent(error: float | None) -> doc.Number:
    return doc.Number(text.percent(error), error)


def _provenance(table: JudgedTable, *, ledger: bool) -> Iterator[doc.Block]:
    """Yield where the settings come from: numbers, every deviation, the whole ledger folded."""
    origins = " · ".join(f"{origin} {n}" for origin, n in table.origins.items())
    yield doc.Paragraph(f"Where the settings come from: {origins}.")
    deviations: dict[str, dict[str, None]] = {}
    for entry in (entry for entry in table.settings if entry.origin == "deviation"):
        known = deviations.setdefault(f"{entry.place}, {entry.reason}", {})
        known[f"{entry.path} = {json.dumps(entry.value)}"] = None
    if deviations:
        yield doc.Items([f"deviation, {why}: {listed(own)}" for why, own in deviations.items()])
    if ledger:
        header = ("setting", "value", "origin", "place", "reason", "set by")
        rows = [
            (e.path, json.dumps(e.value), e.origin, e.place, e.reason or "", e.layer)
            for e in table.settings
        ]
        yield doc.Fold("Ledger of every setting", [doc.Table(header, rows, "llllll")])


def _sentences(table: JudgedTable) -> Iterator[doc.Block]:
    told = ("replicated", "better", "worse", "undecided", "differs")
    values = (value for value in table.values if value.verdict in told)
    found = [f"{table.label_of(value)}: {text.value_sentence(value)}" for value in values]
    claims = (claim for claim in table.claims if claim.has_runs)
    found += [f"{c.claim.text.rstrip('.')}. {text.claim_sentence(c)}" for c in claims]
    if found:
        yield doc.Fold("Verdicts in words", [doc.Items(found)])


def _runs_fold(table: JudgedTable) -> doc.Fold:
    header = ("cell", "seed", "status", "test", "run", "code", "data fingerprint", "device")
    rows = [
        (cell.label, str(run.seed), run.status, _percent(run.result.test_top1_err), run.key[:16],
         run.code, run.data_fingerprint[:16], run.device)
        for cell in table.cells for run in cell.runs
    ]  # fmt: skip
    changed = {
        run.key: f"{run.key[:16]}, after {'; '.join(run.changes)}"
        for cell in table.cells for run in cell.runs if run.changes
    }  # fmt: skip
    return doc.Fold(f"Runs ({len(rows)})", [
        doc.Table(header, rows, "lrlrllll"),
        *doc.items_below(
            "Trained in several environments or by several versions of the code: an uninterrupted "
            "run may give other numbers.", list(changed.values()),
        ),
    ])  # fmt: skip


def _classes_fold(table: JudgedTable, results: str) -> Iterator[doc.Block]:
    """Yield the test error by class and the most frequent confusion of each cell."""
    found = errors_by_class(results, table)
    if not found:
        return
    rows: list[list[doc.Cell]] = []
    for label, classes in found.items():
        worst = "{} as {} ({:.1f} %)".format(*classes.worst) if classes.worst else ""
        rows.append([label, *(doc.Number(f"{e:.1f}", e) for e in classes.errors), worst])
    names = next(iter(found.values())).names
    header, align = ("cell", *names, "most often mistaken"), "l" + "r" * len(names) + "l"
    said = "Percent of a class's test images that are misclassified, mean over seeds."
    yield doc.Fold("Test error by class", [doc.Paragraph(said), doc.Table(header, rows, align)])
