"""Figures of a judged table, as SVG without dates and random ids.

The same records give the same bytes under the same versions of matplotlib and NumPy: matplotlib's
releases place text differently, and its ids are hashes of how NumPy writes numbers.

seaborn and matplotlib take seconds to import, so only the functions here import them. Colours are
seaborn's colour-blind palette; measured is filled and solid, published is open and dashed.
"""

from __future__ import annotations

import io
import itertools
import logging
import os
import re
import statistics
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from resbench.analysis.claims import JudgedClaim
from resbench.analysis.classes import errors_by_class
from resbench.analysis.judge import JudgedTable, Report, epochs_of
from resbench.analysis.names import data_label, listed, set_label
from resbench.datasets import DATA_SETS
from resbench.report.document import plain
from resbench.report.text import CLAIMS, ambiguous, of_seeds, sentence
from resbench.stats.claims import ClaimKind
from resbench.stats.guard import guessing_error
from resbench.stats.power import MIN_SEEDS
from resbench.store.metrics import EpochMetrics
from resbench.suite.metrics import METRICS
from resbench.suite.schema import SIGNAL_METRICS, Claim

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The user's settings of matplotlib must neither change a figure nor break the import.
os.environ |= {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
logging.getLogger("matplotlib").setLevel(logging.ERROR)  # else it warns of a read-only home

MOST_LINES = 6
"""In one panel."""
WIDTH_IN = 9.0
"""About the width of a README on a screen, at 100 pixels an inch."""

_STYLE: dict[str, Any] = {
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


_METADATA: Mapping[str, Any] = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
"""What is left out, by format: what would make two calls differ, and of an SVG all the rest."""


@contextmanager
def style(**settings: Any) -> Iterator[None]:
    """Draw with matplotlib's own defaults and ours; the user's are restored afterwards."""
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context():
        rcdefaults()
        rcParams.update(dict[Any, Any](settings | _STYLE))
        yield


@contextmanager
def _grid() -> Iterator[None]:
    import seaborn as sns

    with style(**sns.axes_style("whitegrid")):
        yield


@_grid()
def learning_curves(judged: JudgedTable, results: str) -> Figure | None:
    """Draw errors over epochs, at most six lines a panel, and the time of a run.

    The form of the 2019 report's figures 2 to 4. Under label noise, training errors on images with
    true and with corrupted labels are apart: a network that memorises has a low error on the
    latter. Only test errors have a band, for two bands a network cannot be read. None without a
    finished run of two epochs, for one epoch is no curve.
    """
    rows = list(_epoch_rows(judged, results))
    if not any(row["epoch"] > 1 for row in rows):
        return None
    import pandas as pd

    frame = _in_panels(pd.DataFrame(rows))
    hues, panels, cells = (list(frame[name].unique()) for name in ("hue", "panel", "cell"))
    kinds = [kind for kind in _CURVES if kind in set(frame["images"])]
    guesses = _guesses(judged) if len(kinds) > 2 else []
    apart = len(hues) * len(kinds) > MOST_LINES
    shown = list(itertools.product([[kind] for kind in kinds] if apart else [kinds], panels))
    many = len(shown) if len(panels) == 1 else len(panels)
    across = many if many <= 4 else 3 if many in (5, 6, 9) else 4
    down = -(-len(shown) // across)
    lines = len(cells) * max(cell.count("\n") + 1 for cell in cells)  # bars are of one height
    heights = 2.1 * down + 0.7, 0.6 + 0.22 * lines if len(cells) > 1 else 0.0
    top, below = (figure := _figure(WIDTH_IN, sum(heights))), None
    if len(cells) > 1:
        top, below = figure.subfigures(2, 1, height_ratios=heights)
    parts = _panels(top, len(shown), across, sharey=True)
    for number, (axes, (own, panel)) in enumerate(zip(parts, shown, strict=True), 1):
        _draw_curves(axes, frame[frame["panel"] == panel], own, hues, str(number))
        axes.set(title=f"{panel}\n{own[0]}".strip() if apart else panel)
        axes.set_xlabel("epoch" if number > len(shown) - across else "")
        axes.xaxis.get_major_locator().set_params(integer=True)
        for guessing in guesses:
            axes.axhline(guessing, gid=f"guessing-{number}", **_GUESSING)
    scale = _scale(parts[0], frame["error"], noisy=bool(guesses))
    top.supylabel(f"error (%){scale}", fontsize=9)
    if below is not None:
        _draw_times(below.subplots(), frame.drop_duplicates("run"), hues)
    for name, colour in _colours(hues).items():
        parts[0].plot([], [], color=colour, label=name, linewidth=3)
    for kind in kinds:
        parts[0].plot([], [], color="0.3", label=kind, **_CURVES[kind])
    if guesses:
        parts[0].plot([], [], label="guessing", **_GUESSING)
    _legend_below(figure, parts[0])
    several = frame.groupby("cell")["run"].nunique().max() > 1
    _title(figure, judged, "Band: sd of the test error" if several else "")
    return figure


@_grid()
def noise(judged: JudgedTable, results: str) -> Figure | None:
    """Draw errors over label noise with the published points; None for a table without levels."""
    rows = list(_noise_rows(judged))
    if len({row["noise"] for row in rows if row["whose"] == "measured"}) < 2:
        return None
    import pandas as pd
    import seaborn as sns

    frame = pd.DataFrame(rows)
    figure = _figure(WIDTH_IN * 0.75, 3.8)
    axes = figure.subplots()
    sns.lineplot(
        frame, x="noise", y="error", hue="network", style="whose", palette="colorblind",
        hue_order=list(dict.fromkeys(frame["network"])), style_order=["measured", "published"],
        markers={"measured": "o", "published": "D"},
        dashes={"measured": "", "published": (3, 2)}, errorbar="sd", err_style="bars", ax=axes,
    )  # fmt: skip
    for line in axes.lines:
        if line.is_dashed():
            line.set(markerfacecolor="white", markeredgecolor=line.get_color())
    for guessing in _guesses(judged):
        axes.axhline(guessing, label="guessing", gid="guessing", **_GUESSING)
    axes.set(xlabel="training labels corrupted (%)", ylabel="test error (%)")
    axes.set_xticks(sorted(set(frame["noise"])))
    axes.set_ylim(0)
    axes.get_legend().remove()
    _legend_below(figure, axes, skip=("network", "whose"))
    _title(figure, judged)
    return figure


@_grid()
def signals(judged: JudgedTable, results: str) -> Figure | None:
    """Draw sizes within networks, every run and the mean, a panel a metric; None without them."""
    found = [v for v in judged.values if v.metric in SIGNAL_METRICS and v.values]
    if not found:
        return None
    cells = {cell.cell: cell for cell in judged.cells}
    rows, hues = (
        list(dict.fromkeys(getattr(cells[value.cell], name) for value in found))
        for name in ("row", "column")
    )
    shown = [metric for metric in METRICS if any(value.metric == metric for value in found)]
    figure = _figure(WIDTH_IN, 0.9 + 2.3 * -(-len(shown) // 2))
    parts = _panels(figure, len(shown), min(2, len(shown)), sharex=True, sharey="row")
    for axes, metric in zip(parts, shown, strict=True):
        for hue, colour in _colours(hues).items():
            own = {
                rows.index(cells[value.cell].row): value for value in found
                if value.metric == metric and cells[value.cell].column == hue
            }  # fmt: skip
            # a line joins what is alike, not networks after 100 steps with others after one
            for alike in dict.fromkeys(map(_bracketed, rows)):
                at = [x for x in own if _bracketed(rows[x]) == alike]
                axes.plot(at, [own[x].mean for x in at], "_-", color=colour,
                          gid=f"{metric}-{hues.index(hue)}{alike}")  # fmt: skip
            for x, value in own.items():
                dots = list(value.values.values())
                axes.plot([x] * len(dots), dots, "o", color=colour, alpha=0.6)
            axes.plot([], [], "o-", color=colour, label=hue)
        axes.set_title(_wrapped(METRICS[metric].label, 60))
        axes.set_ylabel("powers of ten")
        axes.set_xticks(range(len(rows)), [_wrapped(row, 13) for row in rows], fontsize=7)
        axes.grid(axis="x", visible=False)
    _legend_below(figure, parts[0])
    lost = [v.cell for v in judged.values if v.metric in SIGNAL_METRICS and v.diverged]
    gone = listed(dict.fromkeys(cells[cell].label for cell in lost))
    _title(figure, judged, gone and f"diverged: {gone}", seeds="every run, and the mean")
    return figure


@_grid()
def confusions(judged: JudgedTable, results: str) -> Figure | None:
    """Draw for which class the test images of each class are taken, a panel a cell.

    None without runs, and for data sets of many classes.
    """
    tested = any(value.metric == "test_top1_err" for value in judged.values)
    found = errors_by_class(results, judged) if tested else {}
    if not found:
        return None
    import seaborn as sns
    from matplotlib.colors import LinearSegmentedColormap

    across = min(4, len(found))
    most = max(classes.confused.max() for classes in found.values())
    # from transparent on, for a page may be light or dark
    red = sns.color_palette("colorblind")[3]
    colours = LinearSegmentedColormap.from_list("confused", [(*red, 0.0), (*red, 1.0)])
    down = -(-len(found) // across)
    figure = _figure(1.1 + 1.95 * across, 1.4 + 2.3 * down)
    parts = _panels(figure, len(found), across, sharex=True, sharey=True)
    short = _short(found)
    for i, (axes, (label, classes)) in enumerate(zip(parts, found.items(), strict=True), 1):
        axes.imshow(classes.confused, cmap=colours, vmin=0, vmax=most, interpolation="none",
                    aspect="auto", gid=f"confused-{i}")  # fmt: skip
        axes.grid(visible=False)
        axes.set_title(_wrapped(short[label], 30))
        at = range(len(classes.names))
        axes.set_xticks(at, classes.names, rotation=90, fontsize=7)
        axes.set_yticks(at, classes.names, fontsize=7)
        for truth, guess in np.argwhere(classes.confused >= max(1.0, most / 3)):
            number = f"{classes.confused[truth, guess]:.0f}"
            axes.text(guess, truth, number, ha="center", va="center", fontsize=6)
        lowest = i > len(found) - across
        axes.tick_params(labelbottom=lowest)
        axes.set_xlabel("predicted class" if lowest else "")
        axes.set_ylabel("true class" if i % across == 1 % across else "")
    _title(
        figure, judged, "Percent of a class's images that are mistaken for another class",
        seeds=of_seeds((len(cell.done) for cell in judged.cells if cell.done), "mean"),
    )  # fmt: skip
    return figure


@_grid()
def published_and_measured(judged: JudgedTable) -> Figure | None:
    """Draw a table of test errors twice: as published, and every run; each on an axis of its own.

    The two are of different settings, so that a common axis would hide both orders. None without
    a run of a published test error.
    """
    errors = judged.published_test_errors
    measured = [value for value in errors if value.values]
    if not measured:
        return None
    columns = [name for name in judged.columns if any(value.column == name for value in errors)]
    rows = [name for name in judged.rows if any(value.row == name for value in errors)]
    names = _short(judged.columns[column].label for column in columns)
    row_names = _short(judged.rows[row] for row in rows)
    figure = _figure(WIDTH_IN, 3.2)
    left, right = figure.subplots(1, 2)
    for i, (column, colour) in enumerate(_colours(columns).items()):
        shift = min(0.12, 0.4 / len(columns)) * (2 * i - len(columns) + 1)
        at = {row: place + shift for place, row in enumerate(rows)}
        own = {at[value.row]: value for value in errors if value.column == column}
        open_ = {"markerfacecolor": "white", "linestyle": (0, (3, 2)), "linewidth": 1}
        numbers = [value.published_number for value in own.values()]
        left.plot([*own], numbers, "D", color=colour, gid=f"published-{i}", **open_)
        own = {x: value for x, value in own.items() if value.values}
        for x, value in own.items():
            dots = list(value.values.values())
            right.plot([x] * len(dots), dots, "o", color=colour, alpha=0.6, markersize=5)
        label = names[judged.columns[column].label]
        look = {"color": colour, "linewidth": 1.5, "markersize": 10, "markeredgewidth": 1.5}
        means = [value.mean for value in own.values()]
        right.plot([*own], means, marker="_", label=label, gid=f"measured-{i}", **look)
    lacking = dict.fromkeys(rows, "\n(not trained)")
    lacking |= {value.row: "\n(not run)" for value in errors if value.verdict != "skipped"}
    lacking |= {value.row: "\n(diverged)" for value in errors if value.diverged}
    lacking |= {value.row: "" for value in measured}
    # upright, the labels of more rows would run into each other
    slant = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if len(rows) > 5 else {}
    for axes, more in ((left, dict.fromkeys(rows, "")), (right, lacking)):
        labels = [f"{_wrapped(row_names[judged.rows[row]], 14)}{more[row]}" for row in rows]
        axes.set_xticks(range(len(rows)), labels, **slant)
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.grid(axis="x", visible=False)
        axes.margins(y=0.15)
    setting = ": ".join(filter(None, (judged.setting.name, judged.setting.changes)))
    cited = f"{judged.sources[0].title}, {judged.sources[0].where}"
    left.set(title=f"Published\n{_wrapped(cited, 60)}", ylabel="test error (%)")
    right.set(title=f"Measured, on a scale of its own: every run, and the mean\n"
                    f"{_wrapped(sentence(setting), 60)}")  # fmt: skip
    _legend_below(figure, right)
    _head(figure, judged.title)
    return figure


@_grid()
def claims(report: Report) -> Figure | None:
    """Draw the effect of every claim about errors next to the published one, by setting."""
    claimed, rows = list[tuple[str, Claim]](), list[dict[str, JudgedClaim]]()
    for suite, tables in report.by_suite.items():
        for same in zip(*(table.claims for table in tables), strict=True):
            row = {
                table.setting.name: item for table, item in zip(tables, same, strict=True)
                if item.effect_pp is not None and item.claim.metric not in SIGNAL_METRICS
            }  # fmt: skip
            if row:
                claimed.append((suite, same[0].claim))
                rows.append(row)
    if not rows:
        return None
    import seaborn as sns

    names = [name for name in report.by_setting if any(name in row for row in rows)]
    figure = _figure(WIDTH_IN, 1.5 + (0.24 + 0.12 * len(names)) * len(rows))
    axes = figure.subplots()
    palette = sns.color_palette("colorblind")
    axes.axvline(0, color="0.3", linewidth=1)
    judged = [item for row in rows for item in row.values()]
    axes.plot([], [], **_PUBLISHED, label="published")
    for kind in (kind for kind in _COLOURS if any(kind == item.verdict for item in judged)):
        axes.plot([], [], color=palette[_COLOURS[kind]], linewidth=4, label=CLAIMS[kind].text)
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
    unclear = ambiguous(claimed)
    said = [
        f"{claim.text.rstrip('.')}{f' ({suite})' if claim.text in unclear else ''}"
        f"{' (ours)' if claim.ours else ''}"
        for suite, claim in claimed
    ]
    _name_rows(axes, [_wrapped(text, 52) for text in said])
    # an interval from two seeds may be far wider than all effects: it runs off
    effects = [effect for item in judged for effect in (item.effect_pp, item.published_pp)]
    reach = 1.8 * max(abs(effect or 0.0) for effect in effects) or 1.0
    axes.set_xlim(max(axes.get_xlim()[0], -reach), min(axes.get_xlim()[1], reach))
    axes.set(xlabel="effect in the claimed direction (percentage points)")
    _legend_below(figure, axes)
    where = sentence(names[0]) if len(names) == 1 else "Several settings"
    few = any(item.n < MIN_SEEDS for item in judged)
    hollow = f" Hollow: fewer than {MIN_SEEDS} seeds." if few else ""
    steps = " Of a chain: one of its steps." if any(item.step for item in judged) else ""
    alike = any(item.claim.margin_pp is not None for item in judged)
    steps += " Claimed to be alike: second minus first." if alike else ""
    what = f"{where}. Effect and 95% interval over runs.{steps}{hollow}"
    _head(figure, "Claims about errors", what)
    return figure


def ends(judged: JudgedTable) -> str:
    """Return a sentence for who cannot see a figure: the errors that its curves end at.

    Nothing where every run diverged.
    """
    ended: dict[tuple[str, ...], tuple[float, str]] = {}  # by runs, as a run may be in two cells
    for cell in judged.cells:
        errors = [run.result.test_top1_err for run in cell.done]
        if known := [error for error in errors if error is not None]:
            runs = tuple(run.key for run in cell.done)
            ended.setdefault(runs, (statistics.mean(known), cell.label))
    found, between = list(ended.values()), ""
    if not found:
        return ""
    if len(found) > 6:
        between = f"of {len(found)} networks, the lowest and the highest are "
        found = [min(found), max(found)]
    short = _short(label for _, label in ended.values())
    said = listed(f"{error:.1f} % ({short[label]})" for error, label in found)
    return f"Test error at the last epoch: {between}{said}."


@_grid()
def svg(figure: Figure) -> bytes:
    """Return a figure as SVG.

    A quarter shorter than matplotlib writes it: fonts are named once, lines are not indented, and a
    hundredth of a point is not seen.
    """
    drawn = re.sub(r"\s*\n\s*", "\n", picture(figure, "svg").decode())
    if fonts := re.search(r"font-family: [^;]*", drawn):
        drawn = drawn.replace(f"{fonts[0]}; ", "").replace(">*{", f">text{{{fonts[0]}}} *{{", 1)
    drawn = re.sub(r' transform="rotate\(-?0 [^"]*"', "", drawn)
    return re.sub(r"<[^>]*>", lambda tag: _PRECISE.sub(_hundredths, tag[0]), drawn).encode()


def picture(figure: Figure, suffix: str, **options: Any) -> bytes:
    """Return a figure as ``svg``, ``pdf`` or ``png``, without what would tell two calls apart."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # about scripts that the font lacks: an SVG holds their text
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format=suffix, metadata=_METADATA[suffix], **options)
    return buffer.getvalue()


# Places in the colour-blind palette: 0 blue, 1 orange, 2 green, 3 vermilion, 4 purple, 7 grey,
# 9 sky blue; not 8, the yellow, which is hardly seen on white.
_COLOURS: Mapping[ClaimKind, int] = {
    "confirmed": 2,
    "holds_here": 2,
    "contradicted": 3,
    "reversed_here": 3,
    "smaller": 1,
    "leans_for": 9,
    "leans_against": 4,
    "undecided": 7,
    "not_learnt": 0,
}
TEST = "test"
_CURVES: Mapping[str, Mapping[str, Any]] = {
    TEST: {"linewidth": 1.6},
    "training, augmented": {"linewidth": 0.9, "linestyle": (0, (4, 2))},
    "training, true labels": {"linewidth": 0.9, "linestyle": (0, (4, 2))},
    "training, corrupted labels": {"linewidth": 1.3, "linestyle": (0, (1, 1.5))},
}
_GUESSING: Mapping[str, Any] = {"linewidth": 0.8, "color": "0.5"}
_MARKERS = "osv^PXhd"
"""A filled marker per setting."""
_PUBLISHED: Mapping[str, Any] = {
    "marker": "D",
    "linestyle": "none",
    "markersize": 6,
    "markerfacecolor": "none",  # else it would hide a measured mark at the same place
    "markeredgecolor": "black",
}


_PRECISE = re.compile(r"\d+\.\d{3,}")


def _hundredths(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _figure(width: float, height: float) -> Any:
    """Return an empty figure; no window, no state of pyplot.

    Its layout is rounded: the last digits differ with the order of the solver's objects in memory.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.transforms import Bbox

    class Rounded(ConstrainedLayoutEngine):
        def execute(self, fig: Figure) -> None:
            super().execute(fig)
            for axes in fig.axes:
                bounds = axes.get_position(original=True).bounds
                axes.set_position(Bbox.from_bounds(*(round(edge, 6) for edge in bounds)))

    return Figure(figsize=(width, height), layout=Rounded())


def _panels(figure: Any, many: int, across: int, **shared: Any) -> list[Any]:
    """Return the axes of some panels, row by row."""
    parts = figure.subplots(-(-many // across), across, squeeze=False, **shared).flatten()
    for axes in parts[many:]:
        axes.remove()
    return list(parts[:many])


def _colours(names: Sequence[str]) -> dict[str, Any]:
    import seaborn as sns

    return dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))


def _draw_curves(
    axes: Axes, frame: pd.DataFrame, kinds: Sequence[str], hues: Sequence[str], gid: str
) -> None:
    """Draw the mean over runs of each kind of error, and the spread of test errors."""
    errors = frame.groupby(["images", "hue", "epoch"], sort=False)["error"]
    spread = errors.agg(["mean", "std"]).reset_index()
    for (i, (hue, colour)), kind in itertools.product(enumerate(_colours(hues).items(), 1), kinds):
        own = spread[(spread["hue"] == hue) & (spread["images"] == kind)]
        at, mean, sd = own["epoch"], own["mean"], own["std"]
        name = f"curve-{gid}-{i}-{re.sub('[, ]+', '-', kind)}"
        axes.plot(at, mean, gid=name, color=colour, **_CURVES[kind])
        if kind == TEST and sd.notna().any():
            axes.fill_between(at, mean - sd, mean + sd, color=colour, alpha=0.2, linewidth=0)


def _scale(axes: Axes, errors: pd.Series[float], *, noisy: bool) -> str:
    """Set the scale of errors; return what to say of it.

    What networks differ by at the end is invisible next to their first epochs unless the scale is
    logarithmic; under label noise all of it matters.
    """
    low, high = max(0.1, errors.min()), errors.max()
    if noisy or high < 4 * low:
        axes.set_ylim(0.9 * errors.min(), 1.02 * high)
        return ""
    axes.set_yscale("log")
    axes.set_ylim(0.9 * low, 1.1 * high)
    ticks = [at for at in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if 0.9 * low <= at <= 1.1 * high]
    axes.set_yticks(ticks, [f"{at:g}" for at in ticks])
    axes.minorticks_off()
    return ", logarithmic"


def _draw_times(axes: Axes, runs: pd.DataFrame, hues: Sequence[str]) -> None:
    """Draw the time of every run as a dot, and a bar to the mean of its cell."""
    colours = _colours(hues)
    means = runs.groupby(["cell", "hue"], sort=False)["minutes"].mean().reset_index()
    bars = [colours[hue] for hue in means["hue"]]
    axes.barh(means["cell"], means["minutes"], height=0.5, color=bars, alpha=0.5)
    axes.scatter(runs["minutes"], runs["cell"], s=9, color=[colours[hue] for hue in runs["hue"]])
    _name_rows(axes, means["cell"].tolist())
    axes.set_xlim(0)
    devices = listed(dict.fromkeys(runs["device"]))
    axes.set(xlabel=_wrapped(f"minutes of a run, wall clock, on {devices}", 110))


def _title(figure: Figure, judged: JudgedTable, *more: str, seeds: str = "") -> None:
    """Name the table, its setting, its data set, and what the marks are made of."""
    setting = judged.setting
    overrides = set_label(setting.context.overrides)
    seeds = seeds or of_seeds(len(cell.done) for cell in judged.cells if cell.done)
    where = f"{setting.schedule}, data {listed(map(data_label, setting.data))}"
    said = (sentence(part) for part in (where, overrides, seeds, *more) if part)
    _head(figure, judged.title, f"{'. '.join(said)}.")


def _head(figure: Figure, *lines: str) -> None:
    width = round(figure.get_figwidth() * 13)
    figure.suptitle("\n".join(_wrapped(line, width) for line in lines), fontsize=9)


def _legend_below(figure: Figure, axes: Axes, skip: Sequence[str] = ()) -> None:
    shown = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    labels = [label for label in shown if label not in skip]
    handles = [shown[label] for label in labels]
    columns = max(1, min(len(labels), round(figure.get_figwidth() / 2.1)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def as_text(text: str) -> str:
    """Return text for a figure, where a pair of dollar signs would be read as a formula."""
    return plain(text).replace("$", r"\$")


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(as_text(text), width)


def _bracketed(label: str) -> str:
    """Return the parts of a label in brackets."""
    return "".join(re.findall(r"\(.*?\)", label))


def _short(labels: Iterable[str]) -> dict[str, str]:
    """Return labels without their parts in brackets, but whole where two would be the same."""
    short = {label: re.sub(r"\s*\(.*?\)", "", label) or label for label in labels}
    many = Counter(short.values())
    return {label: part if many[part] == 1 else label for label, part in short.items()}


def _epoch_rows(judged: JudgedTable, results: str) -> Iterator[dict[str, Any]]:
    """Yield the errors of every epoch of every finished run: on test and on training images.

    A run of several cells is in the first of them, for its curves would hide each other.
    """
    seen, cells = set[str](), judged.cells
    rows, columns = _short(cell.row for cell in cells), _short(cell.column for cell in cells)
    labels = _short(cell.label for cell in cells)
    for cell in cells:
        row = rows[cell.row]
        if not any(map(str.isalpha, row)):
            row = f"{judged.row_header} {row}"
        point = {
            "row": _wrapped(row, 30),
            "column": _wrapped(columns[cell.column], 30),
            "cell": _wrapped(labels[cell.label], 60),
        }
        for run in (run for run in cell.done if run.key not in seen):
            seen.add(run.key)
            own = {**point, "run": run.key, "minutes": run.total_s / 60, "device": run.device}
            for epoch in epochs_of(results, run):
                for kind, error in zip(_CURVES, _errors(epoch), strict=True):
                    if error is not None:
                        yield {**own, "epoch": epoch.epoch, "images": kind, "error": error}


def _errors(epoch: EpochMetrics) -> tuple[float | None, ...]:
    """Return the error of each kind of curve; under label noise, training errors are apart."""
    apart = epoch.train_err_clean, epoch.train_err_corrupted
    return epoch.test_top1_err, epoch.train_top1_err if apart == (None, None) else None, *apart


def _guesses(judged: JudgedTable) -> list[float]:
    """Return the error of guessing on every data set of the cells."""
    names = {cell.data for cell in judged.cells if cell.data}
    return sorted({guessing_error(DATA_SETS[name].classes) for name in names})


def _in_panels(frame: pd.DataFrame) -> pd.DataFrame:
    """Add what is a line's colour and what is a panel: few lines a panel."""
    many = {name: frame[name].nunique() for name in ("column", "row")}
    hue, panel = sorted(many, key=many.__getitem__)
    if many[hue] == 1 and many[panel] <= MOST_LINES:  # all in one panel
        hue, panel = panel, hue
    if many[hue] > MOST_LINES:
        return frame.assign(hue="each network", panel=frame["cell"])
    return frame.assign(hue=frame[hue], panel=frame[panel])


def _noise_rows(judged: JudgedTable) -> Iterator[dict[str, Any]]:
    """Yield a point for each measured and published test error of a network at a noise level."""
    cells = {cell.cell: cell for cell in judged.cells}
    for value in judged.values:
        cell = cells[value.cell]
        if value.metric != "test_top1_err" or not cell.label_noise:
            continue
        point = {"network": _wrapped(cell.network, 30), "noise": round(100 * cell.label_noise, 6)}
        for error in value.values.values():
            yield {**point, "whose": "measured", "error": error}
        if value.number:
            yield {**point, "whose": "published", "error": float(value.number)}
