"""The report as plain values: what ``--format json`` and ``--format csv`` print.

Errors are in percent, differences in percentage points (ours minus printed), times in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from resbench import __version__
from resbench.analysis.cells import Place
from resbench.analysis.claims import JudgedClaim
from resbench.analysis.judge import JudgedTable, place_notes
from resbench.analysis.names import context_data, finite, rerun_command
from resbench.analysis.results import Results, seed_of
from resbench.analysis.tables import FilledCell
from resbench.report.document import SCHEMA, plain
from resbench.store.records import RunRecord


def report_data(tables: Sequence[JudgedTable], results: Results, ledger: bool) -> dict[str, Any]:
    """Return the whole report."""
    return {
        "schema": SCHEMA,
        "resbench": __version__,
        "runs": len(results.scan.records),
        "problems": list(results.problems),
        "tables": [table_data(table, ledger, results.path) for table in tables],
    }


def report_rows(tables: Sequence[JudgedTable]) -> list[dict[str, Any]]:
    """Return one flat row per place and context."""
    return [_row(table, place) for table in tables for place in table.places]


def table_data(judged: JudgedTable, ledger: bool, results: Path) -> dict[str, Any]:
    """Return one table in one context."""
    table, suite = judged.table, judged.table.expanded.loaded.suite
    cells = table.cells.values()
    return {
        "suite": suite.name,
        "title": suite.title,
        "sources": [asdict(source) for source in suite.sources],
        "context": context_data(table),
        "rows": {row: level.label for row, level in suite.matrix[suite.table.rows].items()},
        "columns": {name: column.label for name, column in suite.table.columns.items()},
        "places": [place_data(place) for place in judged.places],
        "footnotes": list(suite.footnotes),
        "claims": [claim_data(claim) for claim in judged.claims],
        "cells": [cell_data(cell) for cell in cells],
        "cost": {
            "runs": judged.cost.runs,
            "device_hours": judged.cost.device_hours,
            "images_per_s": judged.cost.images_per_s,
            "resumed": judged.cost.resumed,
            "devices": dict(judged.cost.devices),
        },
        "origins": judged.origins,
        "settings": [
            {
                "path": mark.path,
                "value": mark.value,
                "origin": mark.origin,
                "place": mark.place,
                "reason": mark.reason,
                "layer": mark.layer,
            }
            for mark in judged.marks
            if ledger or mark.origin == "deviation"
        ],
        "command": rerun_command(table, results) if table.lacks_runs else None,
    }


def place_data(place: Place) -> dict[str, Any]:
    """Return one place of the table."""
    printed, cell = place.printed, place.cell
    return {
        "row": place.row,
        "column": place.column,
        "cell": cell.cell.id,
        "metric": place.metric,
        "printed": None if printed is None else printed.value,
        "printed_place": None if printed is None else printed.place,
        "claims": None if printed is None else printed.claims,
        "really": None if printed is None else printed.really or printed.claims,
        "ours": place.ours,
        "n": len(place.values),
        "planned": len(cell.seeds),
        "diverged": len(cell.diverged),
        "values": list(place.values),
        "mean": place.mean,
        "sd": place.sd,
        "difference": place.difference,
        "verdict": place.kind,
        "verdict_text": place.text,
        "interval": None if place.interval is None else list(place.interval),
        "seeds_needed": place.seeds_needed,
        "notes": place_notes(place),
    }


def claim_data(judged: JudgedClaim) -> dict[str, Any]:
    """Return one claim with its verdict."""
    claim, verdict = judged.claim, judged.verdict
    interval = None if verdict.kind == "not_run" else verdict.interval
    return {
        "id": claim.id,
        "text": claim.text,
        "place": claim.place,
        "claim": claim.claim,
        "metric": claim.metric,
        "alpha": claim.alpha,
        "margin_pp": claim.margin_pp,
        "printed_pp": verdict.evidence.printed_difference,
        "step": verdict.evidence.where or None,
        "effect_pp": finite(verdict.effect_pp),
        "interval": [finite(interval.low), finite(interval.high)] if interval else None,
        "n": verdict.n,
        "p": verdict.raw_p,
        "p_holm": verdict.adjusted_p,
        "verdict": verdict.kind,
        "verdict_text": verdict.text,
        "seeds_needed": verdict.seeds_needed,
    }


def cell_data(cell: FilledCell) -> dict[str, Any]:
    """Return one combination of the matrix with its runs."""
    return {
        "cell": cell.cell.id,
        "levels": dict(cell.cell.levels),
        "skip": cell.cell.skip,
        "seeds": list(cell.seeds),
        "missing": cell.missing,
        "runs": [run_data(run) for run in cell.records],
    }


def run_data(run: RunRecord) -> dict[str, Any]:
    """Return one run: its key leads to the folder with everything else."""
    return {
        "key": run.key,
        "seed": seed_of(run),
        "status": run.status,
        "reason": run.reason,
        **asdict(run.result),
        "parameters": run.model.parameters,
        "macs": run.model.macs,
        "data_fingerprint": run.data.fingerprint,
        "code": asdict(run.code),
        "device": run.environment.device_name,
        "images_per_s": run.timing.images_per_s,
        "train_s": run.timing.train_s,
        "total_s": run.timing.total_s,
        "resumed": run.timing.resumed,
    }


def _row(judged: JudgedTable, place: Place) -> dict[str, Any]:
    context = context_data(judged.table)
    data = [plain(f"{name}={choice['label']}") for name, choice in context["data"].items()]
    rest = {name: _rounded(value) for name, value in place_data(place).items()}
    low, high = rest.pop("interval") or (None, None)
    for name in ("verdict_text", "notes", "printed_place"):
        del rest[name]
    overrides = [plain(f"{key}={value}") for key, value in context["overrides"]]
    return {
        "suite": judged.table.expanded.loaded.suite.name,
        **{name: context[name] for name in ("tier", "scale", "engine", "precision")},
        "overrides": overrides,
        "data": data,
        **rest,
        "prediction_interval_95_low": low,
        "prediction_interval_95_high": high,
        "runs": [run.key[:16] for run in place.cell.records],
    }


def _rounded(value: Any) -> Any:
    """Round to a parameter in millions, or less than any error is known to: 68.6 stays 68.6."""
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value
