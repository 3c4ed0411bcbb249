"""Every value of a table: the published number, the measured one, and the verdict on the two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from resbench.analysis.arms import arms_of, seeds_in_order
from resbench.analysis.measured import all_measured
from resbench.analysis.names import METRICS, SPLITS, data_label, listed, set_label, tier_label
from resbench.analysis.tables import CellRuns, TableRuns
from resbench.datasets import DATA_SETS
from resbench.errors import UsageError
from resbench.models import FAMILIES, ZooEntry, zoo_entry
from resbench.stats.cells import MARGIN_PP, CellKind, CellVerdict, judge_cell
from resbench.stats.intervals import summarise
from resbench.stats.spread import Arm, reference_variance
from resbench.suite.expand import Context
from resbench.suite.load import Loaded
from resbench.suite.schema import ERROR_METRICS, Metric, PaperValue
from resbench.suite.spec import RunSpec

ValueKind = CellKind | Literal["not_comparable", "equal", "differs", "shown", "skipped"]

_SAME_SPLIT: dict[str, Metric] = {
    "test": "test_top1_err",
    "train": "train_top1_err",
    "train_aug": "train_top1_err",
    "val_in_train": "val_in_train_err",
}
"""Which measured error is the same quantity as a published split."""


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
    text: str = ""
    """The verdict in one sentence."""
    reasons: tuple[str, ...] = ()
    """What makes the two not comparable, a phrase each."""
    values: tuple[float, ...] = ()
    """One for each finished run, in order of seeds."""
    planned: int = 0
    """Runs that the suite or its tier asks for, and any others that were run."""
    diverged: int = 0
    built: str | None = None
    """What is no number: a layer, an output size."""
    mean: float | None = None
    sd: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    """For one new run, at 95 %, widened by the rounding of the published number."""

    @property
    def number(self) -> str:
        """The published number as its source writes it; nothing where there is none."""
        return (self.published.value or "") if self.published else ""

    @property
    def is_error(self) -> bool:
        """Whether it is an error rate, in percent."""
        return self.metric in ERROR_METRICS


def judge_values(table: TableRuns) -> tuple[JudgedValue, ...]:
    """Judge every value of a table, row by row."""
    suite = table.expanded.loaded.suite
    found = []
    arms, _ = arms_of(table, _SAME_SPLIT.values()) if suite.train else ({}, None)
    for row in suite.matrix[suite.table.rows]:
        for name, column in suite.table.columns.items():
            published = suite.published.get(row, {}).get(name)
            metric = (published.metric if published else None) or column.metric
            cell = table.cells[table.expanded.cell_of(row, name).id]
            value = JudgedValue(row, name, cell.cell.id, metric, published, "not_run", "Not run.")
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
    entry = catalogued(spec)
    if entry is None:
        return None
    return entry.parameters_10 if DATA_SETS[spec.data.name].classes == 10 else entry.parameters_100


def catalogued(spec: RunSpec) -> ZooEntry | None:
    """Return the catalogue's row of a network, whatever its width."""
    return zoo_entry(spec.model)


def as_published(number: float, published: PaperValue) -> bool:
    """Whether a number rounds to the published one."""
    return abs(number - float(published.value or "nan")) <= published.half_width + 1e-9


def _judge(
    table: TableRuns, cell: CellRuns, value: JudgedValue, arms: Mapping[str, Arm]
) -> JudgedValue:
    value = replace(value, planned=len(cell.seeds), diverged=len(cell.diverged))
    if cell.cell.spec is None:
        return replace(value, verdict="skipped", text=f"Not trained: {cell.cell.skip}.")
    if value.metric == "params_m":
        return _judge_size(value, parameters(cell), cell, table.expanded.context)
    values = tuple(all_measured(cell.done, value.metric))
    if value.is_error:
        return _judge_error(table, cell, replace(value, values=values), arms)
    if not values:
        return value
    found = summarise(values)
    text = "Not judged: measured on other hardware."
    return replace(
        value, verdict="shown", text=text, values=values, mean=found.mean, sd=_finite(found.sd)
    )


def _judge_size(
    value: JudgedValue, parameters: int | None, cell: CellRuns, context: Context
) -> JudgedValue:
    """Judge a parameter count in millions: it equals the published one where it rounds to it."""
    if parameters is None:
        return replace(value, text="Not counted yet.")
    value = replace(value, mean=parameters / 1e6, text=f"{parameters:,} parameters.")
    published = value.published
    if published is None or published.value is None:
        return replace(value, verdict="shown")
    value = replace(value, difference=parameters / 1e6 - float(published.value))
    spec, reasons = cell.cell.spec, tuple(_setting_reasons(context))
    # A narrow network says nothing about the published one; a full one does, in any setting.
    if reasons and spec is not None and spec.model.width != 1:
        return replace(value, verdict="not_comparable", reasons=reasons)
    same = as_published(parameters / 1e6, published)
    how = "rounds" if same else "does not round"
    text = f"{parameters:,} parameters, which {how} to the published {value.number} million."
    return replace(value, verdict="equal" if same else "differs", text=text)


def _judge_error(
    table: TableRuns, cell: CellRuns, value: JudgedValue, arms: Mapping[str, Arm]
) -> JudgedValue:
    unlike = _split_reason(value)
    reasons = _reasons(table, cell, unlike)
    if cell.done and not value.values:
        reasons = (*reasons, f"the {METRICS[value.metric]} is not measured")
    arm = arms[cell.cell.id]
    others = [other for name, other in arms.items() if name != cell.cell.id]
    reference = reference_variance(arm.chance_variance, others)
    found = judge_cell(arm, seeds_in_order(table), value.number or None, reference)
    measured, interval = summarise(value.values), found.interval
    verdict, text = _verdict(value, cell, found, reasons)
    return replace(
        value,
        verdict=verdict,
        text=text,
        reasons=reasons if verdict == "not_comparable" else (),
        mean=_finite(measured.mean),
        sd=_finite(measured.sd),
        # the difference of two unlike errors means nothing
        difference=None if unlike else _finite(measured.mean - float(value.number or "nan")),
        interval=(interval.low, interval.high) if math.isfinite(interval.half_width) else None,
    )


def _verdict(
    value: JudgedValue, cell: CellRuns, found: CellVerdict, reasons: Sequence[str]
) -> tuple[ValueKind, str]:
    """Return the verdict on an error, and its sentence."""
    if not value.values:
        if cell.done:
            return "not_comparable", f"Not comparable: {'; '.join(reasons)}."
        lost = f"No result: {len(cell.diverged)} of {len(cell.seeds)} runs diverged."
        return "not_run", lost if cell.diverged else "Not run."
    if not value.number:
        return "shown", "The source publishes no number here."
    if reasons:
        return "not_comparable", f"Not comparable: {'; '.join(reasons)}."
    if cell.diverged:
        lost = f"{len(cell.diverged)} of {len(cell.records)} runs diverged"
        return "undecided", f"Undecided: {lost}; the others are not the whole outcome."
    if not found.look:
        return "undecided", "Undecided: fewer than 3 complete seeds decide nothing."
    where = (
        f"measured minus published is {found.difference:+.2f} pp at {found.look} seeds; a run "
        f"of the same method lies between {found.interval.low:.2f} and {found.interval.high:.2f}"
    )
    meaning = {
        "replicated": f"Replicated, within {MARGIN_PP:g} pp",
        "better": "Better",
        "worse": "Worse",
    }.get(found.kind, "Undecided")
    return found.kind, f"{meaning}: {where}. The published number counts as one run."


def _reasons(table: TableRuns, cell: CellRuns, unlike: str | None) -> tuple[str, ...]:
    """Return what separates the runs from the published number, a phrase each."""
    reasons = _setting_reasons(table.expanded.context)
    if departs := table.departures(cell.cell.id):
        more = [f"{len(departs) - 3} more"] if len(departs) > 3 else []
        reasons.append(f"the suite departs from its source in {listed([*departs[:3], *more])}")
    choice = table.choice(cell)
    if choice is not None and not choice.published:
        reasons.append(f"data {data_label(choice.label, False)}")
    return (*reasons, *([unlike] if unlike else []))


def _split_reason(value: JudgedValue) -> str | None:
    """Say where the published number is another error than any that is measured."""
    published = value.published
    really = (published.really or published.claims) if published else None
    if really == "unknown":
        return "it is not known of which images the published number is"
    if really in SPLITS and really != "unspecified" and _SAME_SPLIT.get(really) != value.metric:
        return f"published is the {SPLITS[really]}, measured the {METRICS[value.metric]}"
    return None


def _setting_reasons(context: Context) -> list[str]:
    scaled = context.tier != "paper" or context.scale != 1
    reasons = [tier_label(context.tier, context.scale)] if scaled else []
    return reasons + ([f"changed by {set_label(context.overrides)}"] if context.overrides else [])


def _count(table: TableRuns, cell: CellRuns, value: JudgedValue) -> JudgedValue:
    """Fill a value of a table that is counted, from the network that its cell describes."""
    entry, layers = _network_of(table.expanded.loaded, cell.cell.levels)
    if value.metric == "params_m":
        # The report counted as Keras does, with the running statistics.
        counted = (entry.with_bn_statistics_10 or entry.parameters_10) if entry else None
        return _judge_size(value, counted, cell, table.expanded.context)
    if value.metric == "depth":
        built = str(entry.trunk_depth) if entry else None
    else:
        built = layers.get(value.row, ("", ""))[value.metric == "output_size"] or None
    if built is None:
        return replace(value, verdict="shown", text="Not counted: this is not in the catalogue.")
    if not value.number:
        return replace(value, verdict="shown", text=f"Built: {built}.", built=built)
    same = built == value.number
    text = f"Built: {built}, {'as' if same else 'not the'} published {value.number}."
    return replace(value, verdict="equal" if same else "differs", text=text, built=built)


def _network_of(
    loaded: Loaded, levels: Mapping[str, str]
) -> tuple[ZooEntry | None, Mapping[str, tuple[str, str]]]:
    """Look the network up that a suite's model settings and the levels of a cell describe."""
    model: dict[str, Any] = {**loaded.protocol.model, **loaded.suite.base.get("model", {})}
    for axis, level in levels.items():
        for key, value in loaded.suite.matrix[axis][level].set.items():
            if key == "model":
                model = {**value} if "family" in value else {**model, **value}
            elif key.startswith("model."):
                model[key.removeprefix("model.")] = value
    try:
        width, family = model.pop("width", 1), FAMILIES[model.pop("family")]
        network = family.of(model.pop("name"), width, model)
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{loaded.document.path}: cannot count this network: {error}") from None
    entry = zoo_entry(network) if width == 1 else None
    return entry, family.layers.get(network.name, {}) if entry and not entry.options else {}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def notes_of(value: JudgedValue) -> Sequence[str]:
    """Return what a reader has to know about a value: what is published, and what it really is."""
    published, notes = value.published, list[str]()
    if value.verdict == "skipped":
        notes.append(value.text)
    if published is not None:
        claimed, really = published.claims, published.really or published.claims
        measured = METRICS[value.metric]
        if published.really and published.really != claimed:
            said = f"as {SPLITS[claimed]}" if claimed else "without its split"
            notes.append(
                f"Published {said}; it is: {SPLITS[published.really]}. Measured: {measured}."
            )
        elif really and really != "test":
            notes.append(f"Published: {SPLITS[really]}. Measured: {measured}.")
        notes += [published.note] if published.note else []
        notes += [f"Published in {published.place.rstrip('.')}."] if published.place else []
    return notes
