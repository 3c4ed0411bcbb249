"""Words and numbers as tables print them."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resbench.store.records import RunRecord
from resbench.suite.catalog import Loaded, suite_folder
from resbench.suite.expand import Context, DataChoice
from resbench.suite.schema import Metric, Origin, Split

if TYPE_CHECKING:
    from resbench.analysis.tables import FilledCell, FilledTable
    from resbench.stats.intervals import Interval

RESULTS = Path("results")
"""The folder that every command takes by default."""
ORIGINS: tuple[Origin, ...] = (
    "paper",
    "paper-code",
    "report",
    "report-code",
    "inferred",
    "deviation",
)
METRICS: dict[Metric, str] = {
    "test_top1_err": "test error",
    "train_top1_err": "training error under augmentation",
    "val_in_train_err": "error on validation images that are also trained on",
    "params_m": "parameters in millions",
    "train_time_min": "training time in minutes",
    "layer": "layer",
    "output_size": "output size",
    "depth": "weighted layers from image to logits",
}
SPLITS: dict[Split, str] = {
    "test": "test error",
    "val": "validation error",
    "train": "training error",
    "train_aug": METRICS["train_top1_err"],
    "val_in_train": METRICS["val_in_train_err"],
    "unspecified": "an error of an unnamed split",
    "unknown": "not known",
}


def tier_label(context: Context) -> str:
    """Return for example ``tier paper x0.1``."""
    scale = "" if context.scale == 1 else f" x{context.scale:g}"
    return f"tier {context.tier}{scale}"


def data_label(choice: DataChoice) -> str:
    """Return the data set's own label, with a warning where it is not the printed one."""
    if choice.printed:
        return choice.label
    return f"{choice.label} (not the printed data set)"


def set_label(context: Context) -> str:
    """Return the overrides as they were given on the command line."""
    return " ".join(f"--set {key}={_value(value)}" for key, value in context.overrides)


def context_label(context: Context) -> str:
    """Return everything that separates a table from the others of its suite."""
    data = ", ".join(data_label(choice) for choice in context.data.values())
    parts = [tier_label(context), f"data {data}", context.precision, f"{context.engine} engine"]
    return " · ".join([*parts, *filter(None, [set_label(context)])])


def context_data(table: FilledTable) -> dict[str, Any]:
    """Return what separates a table from the others of its suite."""
    context = table.expanded.context
    return {
        "tier": context.tier,
        "scale": context.scale,
        "engine": context.engine,
        "precision": context.precision,
        "overrides": [list(pair) for pair in context.overrides],
        "data": {
            name: {"label": choice.label, "id": choice.id, "printed": choice.printed}
            for name, choice in context.data.items()
        },
    }


def source_label(loaded: Loaded) -> str:
    """Return where the table stands in its sources."""
    cited = zip(loaded.sources, loaded.suite.sources, strict=True)
    return "; ".join(f"{source.title}, {place.place}" for source, place in cited)


def place_label(loaded: Loaded, row: str, column: str) -> str:
    """Return the labels of a place's row and column."""
    table = loaded.suite.table
    return f"{loaded.suite.matrix[table.rows][row].label}, {table.columns[column].label}"


def cell_label(loaded: Loaded, cell: FilledCell) -> str:
    """Return the labels of a cell's levels, the row's first."""
    suite = loaded.suite
    axes = sorted(suite.matrix, key=lambda axis: axis != suite.table.rows)
    return ", ".join(suite.matrix[axis][cell.cell.levels[axis]].label for axis in axes)


def code_label(run: RunRecord) -> str:
    """Return the version of resbench that made a run, with its commit or its source's digest."""
    code = run.code
    if code.commit is None:
        return f"{code.version} source {code.source_sha256[:10]}"
    return f"{code.version} {code.commit[:10]}{' and changes' if code.dirty else ''}"


def rerun_command(
    table: FilledTable, results: Path = RESULTS, cell: FilledCell | None = None
) -> str:
    """Return the command that trains what this table lacks, or one cell of it, in a folder.

    Engine and precision are named where runs have fixed them; else the device may choose.
    """
    expanded, context = table.expanded, table.expanded.context
    words = ["resbench", "run", _suite_argument(expanded.loaded)]
    if context.tier != "paper":
        words += ["--tier", context.tier]
    if context.scale != 1:
        words += ["--scale", f"{context.scale:g}"]
    if table.keys:
        words += ["--engine", context.engine, "--precision", context.precision]
    for key, value in context.overrides:
        words += ["--set", f"{key}={_value(value)}"]
    for choice in context.data.values():
        if not choice.printed and choice.name != "digits":
            words += ["--data", f"{choice.name}=PATH/{choice.label}"]
    cells = [cell] if cell else table.cells.values()
    extra = {seed for one in cells for seed in one.missing} - set(expanded.seeds)
    if extra:
        words += ["--seeds", ",".join(map(str, sorted({*expanded.seeds, *extra})))]
    words += ["--cell", cell.cell.id] if cell else []
    words += ["--results", str(results)] if results.absolute() != RESULTS.absolute() else []
    return shlex.join(words)


def percent(value: float | None, digits: int = 2) -> str:
    """Return a number with a fixed number of decimals; nothing for None."""
    return "" if value is None else f"{value:.{digits}f}"


def mean_sd(mean: float, sd: float | None, n: int, planned: int) -> str:
    """Return ``5.61 ± 0.12 (3)``; ``(2/3)`` where runs are missing, no sd from one run."""
    spread = "" if sd is None else f" ± {sd:.2f}"
    count = str(n) if n == planned else f"{n}/{planned}"
    return f"{mean:.2f}{spread} ({count})"


def signed(value: float | None) -> str:
    """Return a difference with its sign."""
    return "" if value is None else f"{value:+.2f}"


def bounds(interval: Interval) -> str:
    """Return an interval of a difference as ``-0.10 to +0.52``."""
    finite = math.isfinite(interval.half_width)
    return f"{interval.low:+.2f} to {interval.high:+.2f}" if finite else "unknown"


def p_value(value: float | None) -> str:
    """Return a p-value with two significant digits."""
    if value is None:
        return ""
    return f"{value:.2g}" if value >= 1e-4 else "<0.0001"


def superscript(numbers: Iterable[int]) -> str:
    """Return the numbers of notes, raised."""
    digits = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    return " ".join(str(number).translate(digits) for number in numbers)


def finite(value: float) -> float | None:
    """Return a number, or None where it is unknown or unbounded."""
    return value if math.isfinite(value) else None


def sentence(text: str) -> str:
    """Return text with a capital first letter."""
    return text[:1].upper() + text[1:]


def listed(values: Iterable[object]) -> str:
    """Return ``1, 2, 3``."""
    return ", ".join(map(str, values))


def _value(value: object) -> str:
    """Return a value so that ``--set`` reads the same again: JSON where it can be, else text."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value)


def _suite_argument(loaded: Loaded) -> str:
    path = loaded.document.path
    return loaded.suite.name if path.parent == suite_folder() else str(path)
