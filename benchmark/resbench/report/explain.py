"""Why one cell differs from print, ranked by how much each reason can explain."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resbench.analysis import findings, symptoms
from resbench.analysis.architecture import count_places
from resbench.analysis.cells import Place, judge_places
from resbench.analysis.declared import declared
from resbench.analysis.findings import PRINTED, Finding, Subject, Weight
from resbench.analysis.judge import place_notes
from resbench.analysis.names import (
    cell_label,
    context_label,
    mean_sd,
    rerun_command,
    sentence,
    signed,
    source_label,
)
from resbench.analysis.results import Results
from resbench.analysis.tables import FilledCell, FilledTable, empty, fill
from resbench.errors import UsageError
from resbench.report.data import context_data, place_data
from resbench.report.document import SCHEMA, Block, Command, Heading, Items, Page, Text
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.suite.catalog import Loaded
from resbench.suite.schema import ERROR_METRICS

CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    findings.what_is_printed,
    findings.settings,
    symptoms.fit,
    symptoms.seeds,
    symptoms.curve,
    symptoms.checkpoint,
    symptoms.label_noise,
    findings.architecture,
    findings.inferred,
    findings.images,
    findings.code,
)


WEIGHTS: dict[Weight, str] = {
    "not_comparable": "not comparable",
    "unknown": "size unknown",
    "ruled_out": "ruled out",
    "same_in_all_runs": "same in all runs",
}


@dataclass(frozen=True)
class Explanation:
    """One cell in one context."""

    table: FilledTable
    cell: FilledCell
    places: tuple[Place, ...]
    findings: tuple[Finding, ...]
    """Causes, then symptoms; of each what explains most first, what is ruled out last."""


def explain(loaded: Loaded, name: str, results: Results) -> list[Explanation]:
    """Explain a cell in every context that has runs of it, the closest to print first.

    ``name`` is a cell, ``LEVEL/LEVEL`` in the order of the matrix, or a place, ``ROW/COLUMN``.
    Without a run there is one explanation, of what is known before.

    Raises:
        UsageError: neither a cell nor a place of the suite.
    """
    cell, column = _find(loaded, name)
    tables = [table for table in fill(loaded, results) if table.cells[cell].records]
    judge = judge_places if loaded.suite.train else count_places
    return [explain_cell(t, judge(t), cell, column) for t in tables or [empty(loaded)]]


def explain_cell(
    table: FilledTable, judged: Iterable[Place], cell: str, column: str | None = None
) -> Explanation:
    """Explain a cell in one context from the judged places of its table, or one of its columns."""
    places = tuple(p for p in judged if p.cell.cell.id == cell and column in (None, p.column))
    return Explanation(table, table.cells[cell], places, _findings(table, cell, places))


def explain_page(loaded: Loaded, name: str, results: Results) -> Page:
    """Return the answer for all contexts."""
    found = explain(loaded, name, results)
    cell = found[0].table.cells[_find(loaded, name)[0]]
    title = f"{loaded.suite.name} {name}: {cell_label(loaded, cell)}"
    blocks: list[Block] = [Heading(1, title), Text(f"{sentence(source_label(loaded))}.")]
    if cell.cell.spec is not None and not cell.records:
        blocks.append(Text(f"Not run yet in {results.path}. What can be said before:"))
    for explanation in found:
        blocks += _blocks(explanation, results.path)
    data = {
        "schema": SCHEMA,
        "suite": loaded.suite.name,
        "cell": cell.cell.id,
        "contexts": [_data(explanation) for explanation in found],
    }
    return Page(tuple(blocks), data)


def sentence_of(finding: Finding) -> str:
    """Return a finding on one line: how much, what, the evidence, why it matters."""
    weight = WEIGHTS.get(finding.weight) or f"up to {finding.points:.2f} pp"
    return f"{weight} · {finding.about}: {finding.evidence.rstrip('.')}. {finding.why}"


def _find(loaded: Loaded, name: str) -> tuple[str, str | None]:
    """Return the cell, and the column where one place was named."""
    source = declared(loaded)
    if any(cell.id == name for cell in source.cells):
        return name, None
    row, _, column = name.rpartition("/")
    table = loaded.suite.table
    if row in loaded.suite.matrix[table.rows] and column in table.columns:
        return source.cell_of(row, column).id, column
    source.cell(name)
    raise UsageError(f"unknown cell '{name}' in suite '{loaded.suite.name}'.")


def _findings(table: FilledTable, name: str, places: tuple[Place, ...]) -> tuple[Finding, ...]:
    cell = table.cells[name]
    if cell.cell.spec is None:
        return ()
    runs = (RunFolder(table.results, run.key).metrics for run in cell.done)
    epochs = tuple(tuple(read_epochs(path, EpochMetrics)) for path in runs)
    subject = Subject(table, declared(table.expanded.loaded), cell, places, epochs)
    found = [finding for check in CHECKS for finding in check(subject)]
    return tuple(sorted(found, key=lambda finding: (finding.kind == "symptom", finding.rank)))


def _blocks(explanation: Explanation, results: Path) -> Iterator[Block]:
    table = explanation.table
    if table.expanded.loaded.suite.train:
        yield Heading(2, sentence(context_label(table.expanded.context)))
    told = any(finding.about == PRINTED for finding in explanation.findings)
    for place in explanation.places:
        yield Text(
            _place_line(table, place, [] if told or place.kind == "skipped" else place_notes(place))
        )
    for title, is_symptom in (("Causes", False), ("Symptoms", True)):
        found = [f for f in explanation.findings if (f.kind == "symptom") == is_symptom]
        if found:
            yield Heading(3, title)
            yield Items(tuple(sentence_of(finding) for finding in found), numbered=True)
    cell = explanation.cell
    if cell.missing:
        yield Text("To train what is missing:")
        yield Command(rerun_command(table, results, cell))


def _place_line(table: FilledTable, place: Place, notes: list[str]) -> str:
    label = table.expanded.loaded.suite.table.columns[place.column].label
    printed = place.printed.value if place.printed else None
    parts = [f"{label}: {f'printed {printed}' if printed else 'nothing printed'}"]
    if place.mean is not None and place.metric in ERROR_METRICS:
        seeds = len(place.values), len(place.cell.seeds)
        parts.append(f"ours {mean_sd(place.mean, place.sd, *seeds)}")
    elif place.ours or place.mean is not None:
        parts.append(f"ours {place.ours or f'{place.mean:.3f}'}")
    if place.difference is not None and place.metric in ERROR_METRICS:
        parts.append(f"difference {signed(place.difference)}")
    return " ".join(filter(None, [f"{', '.join(parts)}.", place.text, *notes]))


def _data(explanation: Explanation) -> dict[str, Any]:
    return {
        "context": context_data(explanation.table),
        "runs": [run.key for run in explanation.cell.records],
        "places": [place_data(place) for place in explanation.places],
        "findings": [
            {
                "kind": finding.kind,
                "weight": finding.weight,
                "points": finding.points if math.isfinite(finding.points or 0.0) else None,
                "about": finding.about,
                "evidence": finding.evidence,
                "why": finding.why,
            }
            for finding in explanation.findings
        ],
    }
