"""Figures of a judged table, as SVG that depends on the records alone: no dates, no random ids.

seaborn and matplotlib take seconds to import, so only the functions here import them. Colours are
seaborn's colour-blind palette; measured is filled and solid, published is open and dashed.
"""

from __future__ import annotations

import io
import itertools
import logging
import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from resbench.analysis.claims import JudgedClaim
from resbench.analysis.judge import JudgedTable, epochs_of
from resbench.analysis.names import data_label, listed, set_label
from resbench.report.document import plain
from resbench.report.text import of_seeds, sentence, verdict_of
from resbench.stats.power import MIN_SEEDS
from resbench.suite.schema import SIGNAL_METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The user's settings of matplotlib must neither change a figure nor break the import.
os.environ |= {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
logging.getLogger("matplotlib").setLevel(logging.ERROR)  # else it warns of a read-only home

WIDTH_IN = 9.0
"""About the width of a README on a screen, at 100 pixels an inch."""

STYLE: Mapping[str, Any] = {
    "svg.hashsalt": "resbench",
    "svg.fonttype": "none",  # real text: it can be searched, selected and read aloud
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],  # the first measures
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def learning_curves(judged: JudgedTable, results: str) -> Figure | None:
    """Draw errors over epochs, a panel per column of the matrix, and the time of a run.

    The form of the 2019 report's figures 2 to 4. Only the test error has a band: training errors
    next to it are for the gap, and two bands a network cannot be read. None without a finished run
    of two epochs, for one epoch is no curve.
    """
    rows = list(_epoch_rows(judged, results))
    if not any(row["epoch"] > 1 for row in rows):
        return None
    import pandas as pd
    import seaborn as sns

    frame = pd.DataFrame(rows)
    panels, hues = (list(dict.fromkeys(frame[name])) for name in ("panel", "row"))
    with _style():
        figure, *parts = _canvas(WIDTH_IN, 3.6, [*[1.0] * len(panels), 0.7])
        colours = dict(zip(hues, sns.color_palette("colorblind", len(hues)), strict=True))
        errors = frame.groupby(["panel", "images", "row", "epoch"], sort=False)["error"]
        spread = errors.agg(["mean", "std"]).reset_index()
        for number, (axes, panel) in enumerate(zip(parts, panels, strict=False), 1):
            for (images, look), (i, hue) in itertools.product(_CURVES.items(), enumerate(hues, 1)):
                own = spread[(spread["panel"] == panel) & (spread["row"] == hue)]
                own = own[own["images"] == images]
                at, mean, sd = own["epoch"], own["mean"], own["std"]
                label = hue if axes is parts[0] and images == "test" else None
                gid = f"curve-{number}-{i}-{images.partition(',')[0]}"
                axes.plot(at, mean, color=colours[hue], label=label, gid=gid, **look)
                if images == "test" and sd.notna().any():
                    band = {"alpha": 0.2, "linewidth": 0}
                    axes.fill_between(at, mean - sd, mean + sd, color=colours[hue], **band)
            axes.set(title=panel, xlabel="epoch", ylabel="error (%)" if axes is parts[0] else "")
            axes.set_ylim(0.9 * frame["error"].min(), 1.02 * frame["error"].max())
        times = frame.drop_duplicates("run")
        means = times.groupby(["cell", "row"], sort=False)["minutes"].mean().reset_index()
        names = means["cell"].tolist()
        parts[-1].barh(names, means["minutes"], color=[colours[row] for row in means["row"]])
        parts[-1].invert_yaxis()
        parts[-1].grid(axis="y", visible=False)
        parts[-1].set(title="time of a run", xlabel="minutes, wall clock", ylabel="")
        for images, look in _CURVES.items():
            parts[0].plot([], [], color="0.3", label=images, **look)
        _legend_below(figure, parts[0])
        _title(figure, judged)
    return figure


def noise(judged: JudgedTable, results: str) -> Figure | None:
    """Draw errors over label noise with the published points; None for a table without levels."""
    rows = list(_noise_rows(judged))
    if len({row["noise"] for row in rows if row["whose"] == "measured"}) < 2:
        return None
    import pandas as pd
    import seaborn as sns

    frame = pd.DataFrame(rows)
    with _style():
        figure, axes = _canvas(WIDTH_IN * 0.75, 3.8)
        sns.lineplot(
            frame, x="noise", y="error", hue="network", style="whose", palette="colorblind",
            hue_order=list(dict.fromkeys(frame["network"])), style_order=["measured", "published"],
            markers={"measured": "o", "published": "D"},
            dashes={"measured": "", "published": (3, 2)}, errorbar="sd", err_style="bars", ax=axes,
        )  # fmt: skip
        for line in axes.lines:
            if line.is_dashed():
                line.set(markerfacecolor="white", markeredgecolor=line.get_color())
        axes.set(xlabel="training labels corrupted (%)", ylabel="test error (%)")
        axes.set_xticks(sorted(set(frame["noise"])))
        axes.set_ylim(0)
        _legend_below(figure, axes, skip=("network", "whose"))
        _title(figure, judged)
    return figure


def published_and_measured(judged: JudgedTable) -> Figure | None:
    """Draw a table of test errors twice: as published, and every run; each on an axis of its own.

    The two are of different settings, so that a common axis would hide both orders. None without
    a run of a published test error.
    """
    errors = [value for value in judged.values if value.metric == "test_top1_err" and value.number]
    if not any(value.values for value in errors):
        return None
    import seaborn as sns

    rows = [row for row in judged.rows if any(value.row == row for value in errors)]
    columns = [c for c in judged.columns if any(value.column == c for value in errors)]
    with _style():
        figure, left, right = _canvas(WIDTH_IN, 3.2, (1.0, 1.0))
        colours = sns.color_palette("colorblind", len(columns))
        for i, (column, colour) in enumerate(zip(columns, colours, strict=True)):
            shift = 0.12 * (2 * i - len(columns) + 1)
            own = {value.row: value for value in errors if value.column == column}
            at = {row: x + shift for x, row in enumerate(rows) if row in own}
            numbers = [float(own[row].number) for row in at]
            open_ = {"markerfacecolor": "white", "linestyle": (0, (3, 2)), "linewidth": 1}
            left.plot([*at.values()], numbers, "D", color=colour, gid=f"published-{i}", **open_)
            known = {row: mean for row in at if (mean := own[row].mean) is not None}
            for row in known:
                dots = [at[row]] * len(own[row].values)
                right.plot(dots, own[row].values, "o", color=colour, alpha=0.6, markersize=5)
            label = _short(judged.columns[column].label)
            look = {"color": colour, "linewidth": 1.5, "markersize": 10, "markeredgewidth": 1.5}
            means = [at[row] for row in known], [*known.values()]
            right.plot(*means, marker="_", label=label, gid=f"measured-{i}", **look)
        labels = [_wrapped(_short(judged.rows[row]), 14) for row in rows]
        for axes in (left, right):
            axes.set_xticks(range(len(rows)), labels)
            axes.set_xlim(-0.5, len(rows) - 0.5)
            axes.grid(axis="x", visible=False)
            axes.margins(y=0.15)
        setting = judged.setting.changes or judged.setting.schedule
        cited = f"{judged.sources[0].title}, {judged.sources[0].where}"
        left.set(title=f"Published\n{_wrapped(cited, 66)}", ylabel="test error (%)")
        right.set(title=f"Measured: every run, and the mean\n{_wrapped(sentence(setting), 66)}")
        _legend_below(figure, right)
        _head(figure, judged.title)
    return figure


def claims(settings: Mapping[str, Sequence[JudgedTable]]) -> Figure | None:
    """Draw the effect of every claim with runs next to the published one, by setting."""
    found: dict[tuple[str, int], dict[str, JudgedClaim]] = {}
    for name, tables in settings.items():
        for table in tables:
            for number, item in enumerate(table.claims):
                if item.has_runs and item.claim.metric not in SIGNAL_METRICS:
                    found.setdefault((table.suite, number), {})[name] = item
    rows = [found[at] for at in sorted(found)]
    if not rows:
        return None
    import seaborn as sns

    names = [name for name in settings if any(name in row for row in rows)]
    with _style():
        figure, axes = _canvas(WIDTH_IN, 1.5 + (0.24 + 0.12 * len(names)) * len(rows))
        palette = sns.color_palette("colorblind")
        axes.axvline(0, color="0.3", linewidth=1)
        judged = [item for row in rows for item in row.values()]
        axes.plot([], [], **_PUBLISHED, label="published")
        for kind in (kind for kind in _COLOURS if any(kind == item.verdict for item in judged)):
            words = dict.fromkeys(verdict_of(item) for item in judged if item.verdict == kind)
            label = " / ".join(words)
            axes.plot([], [], color=palette[_COLOURS[kind]], linewidth=4, label=label)
        marker = dict(zip(names, itertools.cycle(_MARKERS)))
        for name in names if len(names) > 1 else ():
            axes.plot([], [], marker[name], color="0.4", label=name)
        for i, row in enumerate(rows):
            for j, (name, item) in enumerate(row.items()):
                y = i + 0.6 * ((j + 0.5) / len(row) - 0.5)
                look: Any = {"color": palette[_COLOURS[item.verdict]]}
                if item.n < MIN_SEEDS:  # no interval of theirs means anything
                    look["markerfacecolor"] = "white"
                elif item.interval is not None:
                    axes.plot(item.interval, [y, y], linewidth=2, gid=f"interval-{i}-{j}", **look)
                axes.plot(item.effect_pp, y, marker[name], gid=f"effect-{i}-{j}", **look)
            for value in {item.published_pp for item in row.values()} - {None}:
                axes.plot(value, i, gid=f"published-{i}", **_PUBLISHED)
        claimed = [next(iter(row.values())).claim.text.rstrip(".") for row in rows]
        _name_rows(axes, [_wrapped(text, 52) for text in claimed])
        # an interval from two seeds may be far wider than all effects: it runs off
        reach = 1.8 * max(
            max(abs(item.effect_pp or 0.0), abs(item.published_pp or 0.0)) for item in judged
        )
        axes.set_xlim(max(axes.get_xlim()[0], -reach), min(axes.get_xlim()[1], reach))
        axes.set(xlabel="effect in the claimed direction (percentage points)")
        _legend_below(figure, axes)
        where = sentence(names[0]) if len(names) == 1 else "Several settings"
        few = any(item.n < MIN_SEEDS for item in judged)
        hollow = f" Hollow: fewer than {MIN_SEEDS} seeds." if few else ""
        what = f"{where}. Effect and 95% interval over runs.{hollow}"
        _head(figure, "Claims of the sources", what)
    return figure


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG; the same records give the same bytes."""
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


# Places in the colour-blind palette, in which 2 is green, 9 sky blue, 3 vermilion, 7 grey.
_COLOURS: Mapping[str, int] = {
    "confirmed": 2,
    "contradicted": 3,
    "smaller": 1,
    "leans_for": 9,
    "leans_against": 4,
    "undecided": 7,
    "not_learnt": 8,
}
_CURVES: Mapping[str, Mapping[str, Any]] = {
    "test": {"linewidth": 1.5},
    "training, augmented": {"linewidth": 0.8, "linestyle": (0, (4, 2))},
}
_MARKERS = "osv^PXhd"
"""A filled marker per setting."""
_PUBLISHED: Mapping[str, Any] = {
    "marker": "D",
    "linestyle": "none",
    "markersize": 5,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
}


@contextmanager
def _style() -> Iterator[None]:
    """Draw with matplotlib's own defaults and ours; the user's are restored afterwards."""
    import seaborn as sns
    from matplotlib import rc_context, rcdefaults, rcParams

    settings: Any = {**sns.axes_style("whitegrid"), **STYLE}
    with rc_context():
        rcdefaults()
        rcParams.update(settings)
        yield


def _canvas(width: float, height: float, ratios: Sequence[float] = (1.0,)) -> Any:
    """Return a figure and its axes side by side; no window, no state of pyplot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    parts = figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)
    return figure, *parts[0]


def _title(figure: Figure, judged: JudgedTable) -> None:
    """Name the table, its setting, its data set, and what the marks are made of."""
    setting = judged.setting
    overrides = set_label(setting.context.overrides)
    seeds = of_seeds(len(cell.done) for cell in judged.cells if cell.done)
    where = f"{setting.schedule}, data {listed(map(data_label, setting.data))}"
    said = (sentence(part) for part in (where, overrides, seeds) if part)
    _head(figure, judged.title, f"{'. '.join(said)}.")


def _head(figure: Figure, *lines: str) -> None:
    width = round(figure.get_figwidth() * 13)
    figure.suptitle("\n".join(_wrapped(line, width) for line in lines), fontsize=9)


def _legend_below(figure: Figure, axes: Axes, skip: Sequence[str] = ()) -> None:
    handles, labels = axes.get_legend_handles_labels()
    shown = [(h, label) for h, label in zip(handles, labels, strict=True) if label not in skip]
    if axes.get_legend() is not None:
        axes.get_legend().remove()  # type: ignore[union-attr]
    columns = max(1, min(len(shown), round(figure.get_figwidth() / 2.1)))
    figure.legend(
        [h for h, _ in shown], [label for _, label in shown],
        loc="outside lower center", ncols=columns, frameon=False,
    )  # fmt: skip


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def _wrapped(text: str, width: int) -> str:
    # A pair of dollar signs would be read as a formula.
    return textwrap.fill(plain(text).replace("$", r"\$"), width)


def _short(label: str) -> str:
    """Return a label without its parts in brackets."""
    return re.sub(r"\s*\(.*?\)", "", label) or label


def _epoch_rows(judged: JudgedTable, results: str) -> Iterator[dict[str, Any]]:
    """Yield two points an epoch of every finished run: test, and training under augmentation."""
    for cell in judged.cells:
        point = {
            "row": _wrapped(_short(cell.row), 30),
            "panel": _wrapped(_short(cell.column), 30),
            "cell": _wrapped(_short(cell.label), 26),
        }
        for run in cell.done:
            own = {**point, "run": run.key, "minutes": run.total_s / 60}
            for epoch in epochs_of(results, run):
                at = {**own, "epoch": epoch.epoch}
                yield {**at, "images": "test", "error": epoch.test_top1_err}
                yield {**at, "images": "training, augmented", "error": epoch.train_top1_err}


def _noise_rows(judged: JudgedTable) -> Iterator[dict[str, Any]]:
    """Yield a point for each measured and published test error of a network at a noise level."""
    cells = {cell.cell: cell for cell in judged.cells}
    for value in judged.values:
        cell = cells[value.cell]
        if value.metric != "test_top1_err" or not cell.label_noise:
            continue
        point = {"network": _wrapped(cell.network, 30), "noise": round(100 * cell.label_noise, 6)}
        for error in value.values:
            yield {**point, "whose": "measured", "error": error}
        if value.number:
            yield {**point, "whose": "published", "error": float(value.number)}
