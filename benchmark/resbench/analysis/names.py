"""The names that people read for settings, cells, runs and sources."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from resbench.analysis.declared import keeps_to_source, ledgers_of
from resbench.datasets import DATA_SETS
from resbench.store.layout import RESULTS
from resbench.store.records import RunRecord
from resbench.suite.expand import DataChoice, Expanded
from resbench.suite.load import PAPER, Loaded, suite_folder
from resbench.suite.metrics import METRICS
from resbench.suite.schema import Metric, Split

if TYPE_CHECKING:
    from resbench.analysis.tables import CellRuns, TableRuns

OWN_SETTING = "own setting, not the published one"
SPLITS: dict[Split, str] = {
    "test": "test error",
    "val": "validation error",
    "train": "training error",
    "train_aug": METRICS["train_top1_err"].label,
    "val_in_train": METRICS["val_in_train_err"].label,
    "unspecified": "error of an unnamed split",
    "unknown": "unknown",
}

SAME_SPLIT: dict[Split, Metric] = {
    "test": "test_top1_err",
    "train": "train_top1_err",
    "train_aug": "train_top1_err",
    "val_in_train": "val_in_train_err",
}
"""Which measured error is the same quantity as a published split; of two, the last is the usual."""


def listed(values: Iterable[object]) -> str:
    """Return ``1, 2, 3``."""
    return ", ".join(map(str, values))


def data_label(choice: DataChoice) -> str:
    """Return the data set's own label, with a warning where it is not the published one."""
    return choice.label if choice.published else f"{choice.label} (not the published data set)"


def set_label(overrides: Iterable[tuple[str, object]]) -> str:
    """Return the overrides as they were given on the command line."""
    return " ".join(f"--set {key}={_value(value)}" for key, value in overrides)


def schedule_label(expanded: Expanded) -> str:
    """Return the tier; of a suite that departs from its source everywhere, that it does."""
    context = expanded.context
    if context.tier == PAPER.name and not keeps_to_source(ledgers_of(expanded)):
        return OWN_SETTING
    return f"tier {context.tier}"


def setting_label(expanded: Expanded, seen: Iterable[DataChoice] = ()) -> str:
    """Return everything that separates a table from the others of its suite.

    Of its data sets, those that were ``seen`` by a run, if any.
    """
    context = expanded.context
    data = listed(map(data_label, list(seen) or context.data.values()))
    parts = [schedule_label(expanded), f"data {data}", context.precision]
    parts += [f"{context.engine} engine", set_label(context.overrides)]
    return " · ".join(filter(None, parts))


def own_setting(suite: str) -> str:
    """Return the name of a setting that a suite alone has."""
    return f"suite {suite}'s own setting"


def setting_name(expanded: Expanded, seen: Iterable[DataChoice]) -> str:
    """Return a setting in a sentence: the tier, and whatever is not usual of the rest.

    All suites that were run alike share it, whichever published data sets they use.
    """
    context, schedule = expanded.context, schedule_label(expanded)
    if schedule == OWN_SETTING:
        schedule = own_setting(expanded.loaded.suite.name)
    unusual = [
        context.precision if context.precision != "fp32" else "",
        f"{context.engine} engine" if context.engine != "eager" else "",
        *(data_label(choice) for choice in seen if not choice.published),
        set_label(context.overrides),
    ]
    return " · ".join(filter(None, [schedule, *unusual]))


def cell_labels(loaded: Loaded, cell: CellRuns) -> dict[str, str]:
    """Return the labels of a cell's levels by axis, the row's first."""
    suite, levels = loaded.suite, cell.cell.levels
    axes = sorted(suite.matrix, key=lambda axis: axis != suite.table.rows)
    return {axis: suite.matrix[axis][levels[axis]].label for axis in axes}


def rerun_command(
    table: TableRuns, cell: CellRuns | None = None, results: Path | None = None
) -> str:
    """Return the command that trains what this table lacks, or one cell of it.

    Engine and precision are named where runs have fixed them; else the device may choose.
    """
    expanded, context = table.expanded, table.expanded.context
    results = results or table.results
    path, name = expanded.loaded.document.path, expanded.loaded.suite.name
    words = ["resbench", "run", name if path.parent == suite_folder() else str(path)]
    if context.tier != PAPER.name:
        words += ["--tier", context.tier]
    if table.keys:
        words += ["--engine", context.engine, "--precision", context.precision]
    for key, value in context.overrides:
        words += ["--set", f"{key}={_value(value)}"]
    for choice in context.data.values():
        if not choice.published and DATA_SETS[choice.name].reader is None:
            words += ["--data", f"{choice.name}=FOLDER_OF_{choice.label}"]
    cells = [cell] if cell else table.cells.values()
    extra = {seed for one in cells for seed in one.missing} - set(expanded.seeds)
    if extra:
        words += ["--seeds", ",".join(map(str, sorted({*expanded.seeds, *extra})))]
    words += ["--cell", cell.cell.id] if cell else []
    words += ["--results", str(results)] if results.absolute() != RESULTS.absolute() else []
    return shlex.join(words)


def run_label(run: RunRecord) -> str:
    """Return the first cell that a run was made for, its seed and the start of its key."""
    cell, *_ = cells_of(run) or ["in no cell"]
    return f"{cell} seed {run.spec['seed']} ({run.key[:16]})"


def cells_of(run: RunRecord) -> list[str]:
    """Return the cells that a run was made for, as the runner noted them: ``SUITE CELL``."""
    cells = run.context.get("cells")
    named = [cell for cell in cells if isinstance(cell, list)] if isinstance(cells, list) else []
    return [" ".join(map(str, cell)) for cell in named]


def suites_of(run: RunRecord) -> set[str]:
    """Return the suites that a run was made for."""
    return {cell.partition(" ")[0] for cell in cells_of(run)}


def _value(value: object) -> str:
    """Return a value so that ``--set`` reads the same again: JSON where it can be, else text."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value)
