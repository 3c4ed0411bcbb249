"""Judged tables as flat rows, one value a field: runs, cells, claims. For CSV and for pandas.

The first columns of all three, ``suite`` and ``setting``, name a table; ``cell``, the next of runs
and cells, a cell of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec.structs import asdict

from resbench.analysis.claims import JudgedClaim
from resbench.analysis.judge import JudgedTable, Report
from resbench.analysis.results import measured
from resbench.analysis.values import JudgedValue
from resbench.store.records import Result, RunRecord
from resbench.suite.schema import SIGNAL_METRICS
from resbench.suite.spec import dotted
from resbench.words import one_line

Row = dict[str, Any]
RUN_COLUMNS = (
    "suite", "setting", "cell", "run", "seed", "status", "reason", *Result.__struct_fields__,
    *SIGNAL_METRICS, "parameters", "macs", "train_images", "test_images", "data",
    "data_is_published", "train_s", "total_s", "images_per_s", "started", "device", "torch",
    "code", "tier",
)  # fmt: skip
"""What every row of a run has, for where there is none; its settings come besides."""
CLAIM_COLUMNS = (
    "suite", "setting", "claim", "text", "source", "metric", "step", "ours", "published", "effect",
    "interval_95_low", "interval_95_high", "superiority", "se", "df", "p", "p_adjusted",
    "p_against", "p_against_adjusted", "p_smaller", "p_smaller_adjusted", "p_images", "n", "look",
    "diverged", "diverged_later", "verdict", "at_published_setting",
)  # fmt: skip
"""What a row of a claim has, in this order."""


def run_rows(report: Report, records: Mapping[str, RunRecord], *, strays: bool = True) -> list[Row]:
    """Return a row for each finished run in each cell that it serves.

    A run that serves two cells has two rows; one that serves none, a stray, has one without a cell.
    The settings of a run follow its results, under the names that ``--set`` takes.
    """
    served: dict[str, list[Row]] = {}
    for table in report.tables:
        for cell in table.cells:
            for run in cell.runs:
                where = _where(table) | {"cell": cell.cell, "tier": table.setting.tier}
                served.setdefault(run.key, []).append(where)
    rows = [
        {"suite": None, "setting": None, "cell": None, **_run(record), **where}
        for key, record in records.items()
        for where in served.get(key, [{}] if strays else [])
    ]
    columns = dict.fromkeys(name for row in rows for name in row)
    return [dict.fromkeys(columns) | row for row in rows]


def cell_rows(report: Report) -> list[Row]:
    """Return a row for each value of each table: the published number and the measured one."""
    return [_value(table, value) for table in report.tables for value in table.values]


def claim_rows(report: Report) -> list[Row]:
    """Return a row for each claim of each table, and what its runs say about it."""
    return [_claim(table, claim) for table in report.tables for claim in table.claims]


def _where(table: JudgedTable) -> Row:
    return {"suite": table.suite, "setting": table.setting.id}


def _run(record: RunRecord) -> Row:
    result, timing, environment = record.result, record.timing, record.environment
    settings = {name: value for name, value in dotted(record.spec) if name != "seed"}
    return {
        "run": record.key[:16],
        "seed": record.spec["seed"],
        "status": record.status,
        "reason": record.reason and one_line(record.reason),
        **asdict(result),
        **{metric: _rounded(measured(record, metric)) for metric in SIGNAL_METRICS},
        "parameters": record.model.parameters,
        "macs": record.model.macs,
        "train_images": record.data.train_images,
        "test_images": record.data.test_images,
        "data": one_line(record.data.label),
        "data_is_published": record.data.published,
        "train_s": timing.train_s,
        "total_s": timing.total_s,
        "images_per_s": timing.images_per_s,
        "started": timing.started,
        "device": one_line(environment.device_name),
        "torch": environment.torch,
        "code": record.code.label,
        **{n: json.dumps(v) if isinstance(v, list) else v for n, v in settings.items()},
    }


def _value(table: JudgedTable, value: JudgedValue) -> Row:
    context, (low, high) = table.setting.context, value.interval or (None, None)
    overrides = [f"{key}={item}" for key, item in context.overrides]
    data = [f"{choice.name}={choice.label}" for choice in table.setting.data]
    return {
        **_where(table),
        "cell": value.cell,
        "tier": table.setting.tier,
        "engine": context.engine,
        "precision": context.precision,
        "overrides": one_line(" ".join(overrides)),
        "data": one_line(" ".join(data)),
        "row": value.row,
        "column": value.column,
        "metric": value.metric,
        "published": None if value.published_number is None else value.number,
        "published_text": value.number or None,
        "published_as": value.published and value.published.claims,
        "published_is": value.published and (value.published.really or value.published.claims),
        "built": value.built,
        "n": len(value.values),
        "planned": value.planned,
        "diverged": value.diverged,
        "mean": _rounded(value.mean),
        "sd": _rounded(value.sd),
        "look": value.look,
        "difference": _rounded(value.difference),
        "prediction_interval_95_low": _rounded(low),
        "prediction_interval_95_high": _rounded(high),
        "p_within": value.p_within,
        "p_differs": value.p_differs,
        "verdict": value.outcome,
    }


def _claim(table: JudgedTable, claim: JudgedClaim) -> Row:
    said, (low, high) = claim.claim, claim.interval or (None, None)
    found = {
        **vars(claim),
        **_where(table),
        "claim": said.id,
        "text": one_line(said.text),
        "source": one_line(said.place),
        "metric": said.metric,
        "ours": said.ours,
        "published": _rounded(claim.published_pp),
        "effect": _rounded(claim.effect_pp),
        "interval_95_low": _rounded(low),
        "interval_95_high": _rounded(high),
        "superiority": _rounded(claim.superiority),
        "se": _rounded(claim.se_pp),
        "df": _rounded(claim.df),
        "diverged": sum(claim.diverged.values()),
        "diverged_later": sum(claim.diverged_later.values()),
    }
    return {name: found[name] for name in CLAIM_COLUMNS}


def _rounded(value: float | None) -> float | None:
    """Round to a parameter in millions, less than any error is known to: 68.6 stays 68.6."""
    return None if value is None else round(value, 6)
