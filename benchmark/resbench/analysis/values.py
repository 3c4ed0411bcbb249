"""Every value of a table: the published number, the measured one, and the verdict on the two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from resbench.analysis.arms import arms_of
from resbench.analysis.declared import as_declared
from resbench.analysis.names import SAME_SPLIT, SPLITS, data_label, listed, set_label
from resbench.analysis.results import all_measured, measured
from resbench.analysis.tables import CellRuns, TableRuns
from resbench.datasets import DATA_SETS
from resbench.errors import UsageError
from resbench.models import FAMILIES, ZooEntry, zoo_entry
from resbench.stats.cells import CellKind, judge_cell
from resbench.stats.multiplicity import seeds_in_order
from resbench.stats.spread import Arm
from resbench.stats.textbook import finite, summarise
from resbench.suite.expand import Cell, Context, nested
from resbench.suite.load import PAPER, Loaded
from resbench.suite.metrics import METRICS
from resbench.suite.schema import ERROR_METRICS, Metric, PaperValue, half_width
from resbench.suite.spec import RunSpec

ValueKind = CellKind | Literal["not_comparable", "equal", "differs", "shown", "skipped"]


@dataclass(frozen=True)
class JudgedValue:
    """One value of a table; errors in percent, differences in points, measured minus published."""

    row: str
    column: str
    cell: str
    """The cell of the matrix whose runs it is measured on."""
    metric: Metric
    """What the published number really is, so that like is compared with like."""
    published: PaperValue | None
    verdict: ValueKind
    reasons: tuple[str, ...] = ()
    """What makes the two not comparable, or why the cell is not trained; a phrase each."""
    departures: tuple[str, ...] = ()
    """The settings in which the suite itself departs from the source in this cell."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Of each run that has one, by its key."""
    planned: int = 0
    """Runs that the suite or its tier asks for, and any others that were run."""
    diverged: int = 0
    """Runs that diverged before this was measured."""
    look: int = 0
    """Seeds that the verdict stands on; 0 while there are too few."""
    built: str | None = None
    """What is no number: a layer, an output size."""
    mean: float | None = None
    sd: float | None = None
    difference: float | None = None
    """Measured minus published: of the runs of the look if a verdict rests on it, else of all."""
    interval: tuple[float, float] | None = None
    """95 % prediction interval for one new run, or, where the published number is a median, for the
    median of as many runs. Widened by the rounding of the published number."""
    p_within: float | None = None
    """For a difference below the margin, adjusted for the looks."""
    p_differs: float | None = None
    """For a difference, two-sided, adjusted for the looks."""

    @property
    def number(self) -> str:
        """The published number as its source writes it; nothing where there is none."""
        return (self.published.value or "") if self.published else ""

    @property
    def published_number(self) -> float | None:
        """The same as a number; None for a text, such as the layers of a stage, and for nothing."""
        try:
            return float(self.number)
        except ValueError:
            return None

    @property
    def outcome(self) -> ValueKind | Literal["diverged"]:
        """The verdict; ``diverged`` where every run that was to give the value did."""
        return "diverged" if self.verdict == "not_run" and self.diverged else self.verdict

    @property
    def is_error(self) -> bool:
        """Whether it is an error rate, in percent."""
        return self.metric in ERROR_METRICS


def judge_values(table: TableRuns) -> tuple[JudgedValue, ...]:
    """Judge every value of a table, row by row."""
    suite = table.expanded.loaded.suite
    found = []
    arms = {metric: arms_of(table, metric) for metric in ERROR_METRICS}
    for row in suite.matrix[suite.table.rows]:
        for name, column in suite.table.columns.items():
            published = suite.published.get(row, {}).get(name)
            metric = (published.metric if published else None) or column.metric
            cell = table.cells[table.expanded.cell_of(row, name).id]
            value = JudgedValue(row, name, cell.cell.id, metric, published, "not_run")
            if suite.train:
                found.append(_judge(table, cell, value, arms.get(metric, {})))
            else:
                found.append(_count(table, cell, value))
    return tuple(found)


def parameters(cell: CellRuns) -> int | None:
    """Return the trainable parameters of a cell's network: counted by a run, else catalogued."""
    if cell.records:
        return cell.records[0].model.parameters
    spec = cell.cell.spec
    return full_width(spec) if spec is not None and spec.model.width == 1 else None


def full_width(spec: RunSpec) -> int | None:
    """Return the parameters of a network at full width, where it is catalogued."""
    entry = zoo_entry(spec.model)
    if entry is None:
        return None
    return entry.parameters_10 if DATA_SETS[spec.data.name].classes == 10 else entry.parameters_100


def rounds_to(number: float, published: PaperValue) -> bool:
    """Whether a number rounds to the published one."""
    value = published.value or "nan"
    return abs(number - float(value)) <= half_width(value) + 1e-9


def _judge(
    table: TableRuns, cell: CellRuns, value: JudgedValue, arms: Mapping[str, Arm]
) -> JudgedValue:
    value = replace(value, planned=len(cell.seeds))
    if cell.cell.spec is None:
        return replace(value, verdict="skipped", reasons=(cell.cell.skip or "",))
    if value.metric == "params_m":
        return _judge_size(value, parameters(cell), cell, table.expanded.context)
    values = all_measured(cell.records, value.metric)
    found = summarise(tuple(values.values()))
    lost = sum(measured(run, value.metric) is None for run in cell.diverged)
    mean, sd = finite(found.mean), finite(found.sd)
    value = replace(value, values=values, mean=mean, sd=sd, diverged=lost)
    if value.is_error:
        return _judge_error(table, cell, value, arms)
    return replace(value, verdict="shown" if values or cell.done else "not_run")


def _judge_size(
    value: JudgedValue, parameters: int | None, cell: CellRuns, context: Context
) -> JudgedValue:
    """Judge a parameter count in millions: it equals the published one where it rounds to it."""
    if parameters is None:
        return value
    value = replace(value, mean=parameters / 1e6)
    published = value.published
    if published is None or published.value is None:
        return replace(value, verdict="shown")
    value = replace(value, difference=parameters / 1e6 - float(published.value))
    spec, reasons = cell.cell.spec, tuple(_setting_reasons(context))
    # Only a network of full width can be compared with the published one, in any setting.
    if reasons and spec is not None and spec.model.width != 1:
        return replace(value, verdict="not_comparable", reasons=reasons)
    same = rounds_to(parameters / 1e6, published)
    return replace(value, verdict="equal" if same else "differs")


def _judge_error(
    table: TableRuns, cell: CellRuns, value: JudgedValue, arms: Mapping[str, Arm]
) -> JudgedValue:
    unlike = _split_reason(value)
    value = replace(value, departures=tuple(table.departures(cell.cell.id)))
    reasons = _reasons(table, cell, value.departures, unlike)
    if cell.done and not value.values:
        reasons = (*reasons, f"the {METRICS[value.metric].label} is not measured")
    arm = arms[cell.cell.id]
    others = [other for name, other in arms.items() if name != cell.cell.id]
    median_of = (value.published.median_of if value.published else None) or 1
    seeds = seeds_in_order(table.expanded.declared_seeds)
    found = judge_cell(arm, seeds, value.number or None, others, median_of=median_of)
    verdict: ValueKind = found.kind
    if not value.values:
        verdict = "not_comparable" if cell.done else "not_run"
    elif not value.number:
        verdict = "shown"
    elif reasons:
        verdict = "not_comparable"
    interval, difference = found.interval, found.difference
    rests = found.look and verdict != "not_comparable" and not arm.diverged
    if value.mean is not None and not rests:
        difference = value.mean - float(value.number or "nan")
    known = found.look > 0 and math.isfinite(interval[0])
    return replace(
        value,
        verdict=verdict,
        reasons=reasons if verdict == "not_comparable" else (),
        look=found.look,
        # the difference of two unlike errors means nothing
        difference=None if unlike or not value.values else finite(difference),
        interval=interval if known else None,
        p_within=found.p_within,
        p_differs=found.p_differs,
    )


def _reasons(
    table: TableRuns, cell: CellRuns, departs: Sequence[str], unlike: str | None
) -> tuple[str, ...]:
    """Return what separates the runs from the published number, a phrase each."""
    reasons = _setting_reasons(table.expanded.context)
    if departs:
        more = [f"{len(departs) - 3} more"] if len(departs) > 3 else []
        reasons.append(f"the suite departs from its source in {listed([*departs[:3], *more])}")
    choice = table.choice(cell)
    if choice is not None and not choice.published:
        reasons.append(f"data {data_label(choice)}")
    return (*reasons, *([unlike] if unlike else []))


def _split_reason(value: JudgedValue) -> str | None:
    """Return where the published number is another error than any that is measured."""
    published = value.published
    really = (published.really or published.claims) if published else None
    if really == "unknown":
        return "it is not known on which images the published number was computed"
    if really in SPLITS and really != "unspecified" and SAME_SPLIT.get(really) != value.metric:
        label = METRICS[value.metric].label
        return f"the published number is the {SPLITS[really]}, the measured one the {label}"
    return None


def _setting_reasons(context: Context) -> list[str]:
    if as_declared(context):
        return []
    changed = [f"changed by {set_label(context.overrides)}"] if context.overrides else []
    return [*([f"tier {context.tier}"] if context.tier != PAPER.name else []), *changed]


def _count(table: TableRuns, cell: CellRuns, value: JudgedValue) -> JudgedValue:
    """Fill a value of a table that is counted, from the network that its cell describes."""
    if not cell.cell.leaves:
        return replace(value, verdict="skipped", reasons=(cell.cell.skip or "",))
    entry, layers = counted_network(table.expanded.loaded, cell.cell)
    if value.metric == "params_m":
        # The report counted as Keras does, with the running statistics.
        counted = (entry.with_bn_statistics_10 or entry.parameters_10) if entry else None
        return _judge_size(value, counted, cell, table.expanded.context)
    if value.metric == "depth":
        built = str(entry.trunk_depth) if entry else None
    else:
        built = layers.get(value.row, ("", ""))[value.metric == "output_size"] or None
    if built is None or not value.number:
        return replace(value, verdict="shown", built=built)
    return replace(value, verdict="equal" if built == value.number else "differs", built=built)


def counted_network(
    loaded: Loaded, cell: Cell
) -> tuple[ZooEntry | None, Mapping[str, tuple[str, str]]]:
    """Look the network up that the settings of a counted cell describe.

    Raises:
        UsageError: there is none.
    """
    try:
        model = nested(cell.leaves)["model"]
        if not isinstance(model, dict):
            raise ValueError("'model' must be a mapping")
        width, name = model.pop("width", 1), model.pop("family")
        if name not in FAMILIES:
            raise ValueError(f"only shipped ones are, not '{name}'. Leave out 'train: false'.")
        family = FAMILIES[name]
        network = family.of(model.pop("name"), width, model)
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{loaded.document.path}: cannot count this network: {error}") from None
    entry = zoo_entry(network) if width == 1 else None
    return entry, family.layers.get(network.name, {}) if entry and not entry.options else {}
