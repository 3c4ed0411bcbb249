"""Printed number, ours, and the verdict, for every place of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from msgspec.structs import asdict

from resbench.analysis.declared import as_declared
from resbench.analysis.measured import PLANNING_SD_PP, all_measured
from resbench.analysis.names import (
    METRICS,
    SPLITS,
    data_label,
    finite,
    listed,
    set_label,
    tier_label,
)
from resbench.analysis.tables import FilledCell, FilledTable
from resbench.datasets import DATA_SETS
from resbench.models.catalogue import ZooEntry, zoo_entry
from resbench.stats.intervals import summarise
from resbench.stats.verdicts import CellKind, judge_cell
from resbench.suite.expand import Cell, Context, Expanded
from resbench.suite.ledger import ledger
from resbench.suite.schema import ERROR_METRICS, TEXT_METRICS, Metric, PaperValue
from resbench.suite.spec import RunSpec

PlaceKind = CellKind | Literal["equal", "differs", "shown", "skipped"]

_OURS: dict[str, Metric] = {
    "test": "test_top1_err",
    "train": "train_top1_err",
    "train_aug": "train_top1_err",
    "val_in_train": "val_in_train_err",
}
"""Which of our errors is the same quantity as a printed split."""

SPLIT_REASONS = ("the split of the printed number", "printed is the")


@dataclass(frozen=True)
class Place:
    """One place of the table; errors in percent, differences in points, ours minus printed."""

    row: str
    column: str
    metric: Metric
    """What the printed number really is, so that like is set beside like."""
    printed: PaperValue | None
    cell: FilledCell
    kind: PlaceKind
    text: str
    """The verdict in one sentence."""
    values: tuple[float, ...] = ()
    """One per seed, in the order of the cell's finished runs."""
    ours: str | None = None
    """What is no number: a layer, an output size."""
    mean: float | None = None
    sd: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    """For one new run of ours, at 95 %, widened by the printed rounding."""
    seeds_needed: int | None = None


def judge_places(table: FilledTable) -> tuple[Place, ...]:
    """Judge every place of a trained table, row by row."""
    return tuple(_judge(table, place) for place in bare_places(table))


def bare_places(table: FilledTable) -> Iterator[Place]:
    """Yield every place of a table, row by row, not judged yet."""
    suite = table.expanded.loaded.suite
    for row in suite.matrix[suite.table.rows]:
        for name, column in suite.table.columns.items():
            printed = suite.printed.get(row, {}).get(name)
            metric = (printed.metric if printed else None) or column.metric
            cell = table.cells[table.expanded.cell_of(row, name).id]
            yield Place(row, name, metric, printed, cell, "not_run", "")


def parameters(cell: FilledCell) -> int | None:
    """Return the trainable parameters of a cell's network: counted by a run, else catalogued."""
    if cell.records:
        return cell.records[0].model.parameters
    spec = cell.cell.spec
    if spec is None or spec.model.width != 1:
        return None
    return full_width(spec)


def full_width(spec: RunSpec) -> int | None:
    """Return the parameters of a network at full width, where it is catalogued."""
    entry = catalogued(spec)
    if entry is None:
        return None
    return entry.parameters_10 if DATA_SETS[spec.data.name].classes == 10 else entry.parameters_100


def catalogued(spec: RunSpec) -> ZooEntry | None:
    """Return the catalogue's row of a network, whatever its width."""
    options = asdict(spec.model)
    name, _ = options.pop("name"), options.pop("width")
    return zoo_entry(spec.model.family, name, options)


def _judge(table: FilledTable, place: Place) -> Place:
    cell = place.cell
    if cell.cell.spec is None:
        return _with(place, "skipped", f"Not trained here: {cell.cell.skip}.")
    if place.metric in TEXT_METRICS or place.metric == "depth":
        return _with(place, "shown", "Counted by `resbench models`.")
    if place.metric == "params_m":
        return judge_count(place, parameters(cell), _context_reasons(table.expanded.context))
    values = all_measured(cell.done, place.metric)
    if place.metric in ERROR_METRICS:
        return _judge_error(table, place, values)
    kind: PlaceKind = "shown" if values else "not_run"
    text = "Not judged: measured on other hardware." if values else "Not run."
    summary = summarise(values)
    numbers = {"mean": finite(summary.mean), "sd": finite(summary.sd)}
    return _with(place, kind, text, values=tuple(values), **numbers)


def judge_count(place: Place, parameters: int | None, reasons: Sequence[str] = ()) -> Place:
    """Judge a parameter count in millions: it equals print where it rounds to it."""
    if parameters is None:
        return _with(place, "not_run", "Not counted yet.")
    ours = parameters / 1e6
    text = f"{parameters:,} parameters"
    if place.printed is None or place.printed.value is None:
        return _with(place, "shown", f"{text}.", mean=ours)
    difference = ours - float(place.printed.value)
    # A narrow network is no statement about the printed one; a full one is, in any context.
    if reasons and place.cell.cell.spec is not None and place.cell.cell.spec.model.width != 1:
        text = f"Not comparable: {'; '.join(reasons)}."
        return _with(place, "not_comparable", text, mean=ours, difference=difference)
    same = abs(difference) <= place.printed.half_width + 1e-9
    kind: PlaceKind = "equal" if same else "differs"
    how = "rounds to" if same else "does not round to"
    text = f"{text}, which {how} the printed {place.printed.value} million."
    return _with(place, kind, text, mean=ours, difference=difference)


def _judge_error(table: FilledTable, place: Place, values: list[float]) -> Place:
    context, cell = table.expanded.context, place.cell
    printed = place.printed.value if place.printed else None
    reasons = _reasons(table, place)
    if cell.done and not values:
        reasons = (*reasons, f"no {METRICS[place.metric]} is measured here")
    verdict = judge_cell(
        values,
        printed,
        n_test=_images(cell, place.metric),
        differences=reasons,
        planning_sd=PLANNING_SD_PP if as_declared(context) else None,
    )
    kind: PlaceKind = verdict.kind
    text = verdict.text
    if cell.done and not values:
        kind, text = "not_comparable", f"Not comparable: {'; '.join(reasons)}."
    elif not values and cell.diverged:
        text = f"No result: {len(cell.diverged)} of {len(cell.seeds)} runs diverged."
    elif values and printed is None:
        kind, text = "shown", "The source prints no number here."
    if any(reason.startswith(SPLIT_REASONS) for reason in reasons):
        verdict = replace(verdict, difference=math.nan)  # unlike errors are not ranked
    interval = verdict.interval
    return _with(
        place,
        kind,
        text,
        values=tuple(values),
        mean=finite(verdict.summary.mean),
        sd=finite(verdict.summary.sd),
        difference=finite(verdict.difference),
        interval=(interval.low, interval.high) if math.isfinite(interval.half_width) else None,
        seeds_needed=verdict.seeds_needed,
    )


def _reasons(table: FilledTable, place: Place) -> tuple[str, ...]:
    """Return what separates ours from the printed number, a phrase each."""
    reasons = _context_reasons(table.expanded.context)
    if departs := _departures(table.expanded, place.cell.cell):
        more = [f"{len(departs) - 3} more"] if len(departs) > 3 else []
        reasons.append(f"the suite departs from its source, {listed([*departs[:3], *more])}")
    choice = table.choice(place.cell)
    if choice is not None and not choice.printed:
        reasons.append(f"data {data_label(choice)}")
    really = (place.printed.really or place.printed.claims) if place.printed else None
    if really == "unknown":
        reasons.append(f"{SPLIT_REASONS[0]} is not known")
    elif really in SPLITS and really != "unspecified" and _OURS.get(really) != place.metric:
        reasons.append(f"{SPLIT_REASONS[1]} {SPLITS[really]}, ours the {METRICS[place.metric]}")
    return tuple(reasons)


def _departures(expanded: Expanded, cell: Cell) -> list[str]:
    """Return the settings of suite and protocol that are marked as deviations, or not at all."""
    return [
        entry.path
        for entry in ledger(expanded, cell)
        if entry.origin == "deviation" and entry.layer.split()[0] in ("protocol", "suite", "matrix")
    ]


def _context_reasons(context: Context) -> list[str]:
    reasons = []
    if context.tier != "paper" or context.scale != 1:
        reasons.append(tier_label(context))
    if context.overrides:
        reasons.append(f"settings changed, {set_label(context)}")
    return reasons


def _images(cell: FilledCell, metric: Metric) -> int | None:
    """Return how many images an error was measured on."""
    if not cell.done or cell.cell.spec is None:
        return None
    data = cell.done[0].data
    if metric == "val_in_train_err":
        return cell.cell.spec.training.val_in_train or None
    return data.test_images if metric == "test_top1_err" else data.train_images


def _with(place: Place, kind: PlaceKind, text: str, **fields: object) -> Place:
    return replace(place, kind=kind, text=text, **fields)  # type: ignore[arg-type]
