"""What MLflow's pages say in words: notes of runs and experiments, and a saved view of columns."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean
from typing import Any

from resbench.store.state import Status
from resbench.tracking.facts import ERROR, MAX_TEXT, Facts, Published
from resbench.tracking.store import CELL, FOLDER, VIEW
from resbench.words import count

NOTE = "mlflow.note.content"
SHARED_VIEW = f"mlflow.sharedViewState.{VIEW}"
_SETTING = ("resbench.tier", "resbench.data", "resbench.set")


def of_run(facts: Facts, place: tuple[str, str], published: Published) -> str:
    """Return the note of a run: which cell, which seed, which error, against which value."""
    suite, cell = place
    lines = [f"**{cell}** of `{suite}`, seed {facts.seed}: {_outcome(facts)}"]
    for metric, value in published.values.get(cell, {}).items():
        now = facts.epochs[-1].get(f"error/{metric}") if facts.epochs else None
        measured = "not measured yet" if now is None else f"{now:.2f} %"
        after = f" after epoch {len(facts.epochs)}" if facts.status is Status.RUNNING else ""
        lines.append(f"{metric}: {measured}{after}; published {value:g} % ({published.cites})")
    if not published.values.get(cell):
        lines.append("No source publishes a value for this cell.")
    return "\n\n".join(lines)[:MAX_TEXT]


def _outcome(facts: Facts) -> str:
    error = facts.epochs[-1].get(f"error/{ERROR}") if facts.epochs else None
    shown = "no epoch yet" if error is None else f"test error {error:.2f} %"
    return f"{shown} after {count(len(facts.epochs), 'epoch')}, {facts.status.value}."


def of_suite(published: Published, runs: Sequence[Any]) -> dict[str, str]:
    """Return the tags of an experiment, a note and a saved view, for MLflow's runs of it."""
    return {NOTE: _table(published, runs), SHARED_VIEW: _view(published, runs)}


def _table(published: Published, runs: Sequence[Any]) -> str:
    """Return published and measured values by cell, a table for each setting."""
    settings = defaultdict[str, dict[str, list[Any]]](lambda: defaultdict(list))
    for run in runs:
        if run.data.tags.get("resbench.status") == Status.DONE:
            setting = ", ".join(filter(None, (run.data.tags.get(name) for name in _SETTING)))
            settings[setting][run.data.tags.get(CELL, "")].append(run)
    lines = [f"**{published.title}**", published.cites] if published.title else []
    lines.append("Error in %, mean of the runs; in brackets the lowest and the highest.")
    for setting, cells in sorted(settings.items()):
        rows = [row for cell in sorted(cells) for row in _rows(cell, published, cells[cell])]
        head = "| cell | error | published | measured | runs |\n|---|---|--:|--:|--:|"
        lines += [f"Tier and data: {setting}", "\n".join([head, *rows])]
    lines.append("What the numbers mean for the claims: `resbench report`.")
    return "\n\n".join(lines)[:MAX_TEXT]


def _rows(cell: str, published: Published, runs: Sequence[Any]) -> list[str]:
    values = published.values.get(cell, {})
    rows = []
    for metric in values or (ERROR,):
        errors = [v for run in runs if (v := run.data.metrics.get(f"error/{metric}")) is not None]
        if errors:
            span = f" ({min(errors):.2f} to {max(errors):.2f})" if len(errors) > 1 else ""
            paper = f"{values[metric]:g}" if metric in values else ""
            shown = f"{mean(errors):.2f}{span}"
            rows.append(f"| {cell} | {metric} | {paper} | {shown} | {len(errors)} |")
    return rows


def _view(published: Published, runs: Sequence[Any]) -> str:
    """Return MLflow's saved view (3.15 and later): name, creation time and state as JSON.

    A version of MLflow that reads it otherwise shows its usual columns. The names of runs, which
    come first, say seed and cell.
    """
    metrics = dict.fromkeys(metric for cell in published.values.values() for metric in cell)
    widths: dict[str, int] = {}
    for metric in metrics or (ERROR,):
        widths |= {f"metrics.`error/{metric}`": 160, f"metrics.`error/{metric}_published`": 220}
    widths |= {"tags.`resbench.tier`": 110, "attributes.`Dataset`": 210}
    if any("resbench.set" in run.data.tags for run in runs):
        widths["tags.`resbench.set`"] = 200
    if len({run.data.tags.get(FOLDER) for run in runs}) > 1:
        widths["tags.`resbench.results`"] = 300
    state = {
        "selectedColumns": list(widths),
        "columnOrder": list(widths),
        "columnWidths": widths,
        "orderByKey": f"tags.`{CELL}`",
        "orderByAsc": True,
    }
    view = {"name": "Measured and published", "createdAt": 0, "state": json.dumps(state)}
    return json.dumps(view)
