"""One figure: what networks make of test images, a block for each run, a row for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resbench.analysis.names import run_label
from resbench.report.figures import as_text, picture, style
from resbench.store.records import RunRecord
from resbench.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.gridspec import GridSpec

    from resbench.train.masks import Maps, Observed

# Inches; the width is that of a page with margins.
WIDTH, LEFT, RIGHT, GAP, STAGE_GAP = 7.4, 1.3, 0.1, 0.05, 0.16
TITLE, HEAD, BAR, FOOT = 0.36, 0.42, 0.07, 0.24
LEARNING = {
    "arl": ("attention residual learning", "(1 + M) · T"),
    "nal": ("naive attention learning", "M · T"),
}


def masks(runs: Sequence[tuple[RunRecord, Observed]], suffix: str) -> bytes:
    """Draw runs below each other as ``svg``, ``pdf`` or ``png``; same runs, same bytes.

    Maps are averaged over the channels. Trunk and output of a stage share a scale, in which 0 is
    white, and so do all images of a run: one sees what a mask does to its trunk.
    """
    with style(**{"image.interpolation": "nearest", "pdf.fonttype": 42}):
        return picture(_draw(runs), suffix, dpi=300)


def _draw(runs: Sequence[tuple[RunRecord, Observed]]) -> Figure:
    from matplotlib.figure import Figure

    stages = max(len(observed.stages) for _, observed in runs)
    side = (WIDTH - LEFT - RIGHT - stages * (STAGE_GAP + 2 * GAP)) / (1 + 3 * stages)
    heights = [
        TITLE + HEAD + len(observed.images) * (side + GAP) + BAR + FOOT for _, observed in runs
    ]
    figure = Figure(figsize=(WIDTH, sum(heights)))
    parts = figure.subfigures(len(runs), squeeze=False, height_ratios=heights).flat
    for part, height, (record, observed) in zip(parts, heights, runs, strict=True):
        title, facts = _title(record)
        part.text(LEFT / WIDTH, 1 - 0.06 / height, title, va="top", fontsize=8)
        part.text(LEFT / WIDTH, 1 - 0.23 / height, facts, va="top", fontsize=6.5, color="0.35")
        # a gap is a row or a column of its own
        rows = [*[side, GAP] * len(observed.images), BAR]
        columns = [side, *[STAGE_GAP, side, GAP, side, GAP, side] * len(observed.stages)]
        grid = part.add_gridspec(
            len(rows), len(columns), height_ratios=rows, width_ratios=columns, wspace=0, hspace=0,
            left=LEFT / WIDTH, right=(LEFT + sum(columns)) / WIDTH,
            bottom=FOOT / height, top=1 - (TITLE + HEAD) / height,
        )  # fmt: skip
        _draw_inputs(part, grid, observed)
        output = LEARNING[record.spec["model"]["learning"]][1]
        for number, stage in enumerate(observed.stages, 1):
            _draw_stage(part, grid, number, stage, output)
    return figure


def _draw_inputs(part: SubFigure, grid: GridSpec, observed: Observed) -> None:
    """Draw an image a row, and left of it its class and the network's answer."""
    for i, pixels in enumerate(observed.images):
        axes = _picture(part, grid[2 * i, 0], pixels, "input" if i == 0 else "")
        true, predicted = observed.true[i], observed.predicted[i]
        _label(axes, as_text(true), (0, 0.5), (-5.8, 1.4), ha="right", va="bottom")
        colour = "0.35" if true == predicted else "#D55E00"  # vermilion, safe for the colour-blind
        said = f"predicted {as_text(predicted)}"
        _label(axes, said, (0, 0.5), (-5.8, -1.4), ha="right", va="top", color=colour)


def _draw_stage(
    part: SubFigure, grid: GridSpec, number: int, stage: Mapping[str, Maps], output: str
) -> None:
    """Draw three columns of an image's maps a row, each above the scale that its maps share."""
    reach = max(abs(stage[name]).max() for name in ("trunk", "output"))
    parts = (
        ("trunk", "trunk T", "RdBu_r", -reach, reach),
        ("mask", "mask M", "magma", stage["mask"].min(), stage["mask"].max()),
        ("output", output, "RdBu_r", -reach, reach),
    )
    for column, (name, title, colours, low, high) in enumerate(parts, 3 * number - 2):
        for i, values in enumerate(stage[name]):
            look = {"cmap": colours, "vmin": low, "vmax": high}
            axes = _picture(part, grid[2 * i, 2 * column], values, title if i == 0 else "", **look)
            if (name, i) == ("mask", 0):
                size = "stage {}, {} × {}".format(number, *values.shape)
                _label(axes, size, (0.5, 1), (0, 14.4), ha="center", fontweight="bold")
        ramp = [[step / 255 for step in range(256)]]
        axes = _picture(part, grid[-1, 2 * column], ramp, cmap=colours, aspect="auto")
        for value, at, ha in ((low, 0, "left"), (high, 1, "right")):
            _label(axes, f"{value:.2f}", (at, 0), (0, -2.2), ha=ha, va="top", fontsize=5.5)


def _picture(part: SubFigure, place: Any, values: Any, title: str = "", **look: Any) -> Axes:
    axes = part.add_subplot(place)
    axes.axis("off")
    axes.imshow(values, **look)
    axes.set_title(title, fontsize=7, pad=5.4)
    return axes


def _label(
    axes: Axes, text: str, at: tuple[float, float], points: tuple[float, float], **look: Any
) -> None:
    """Write some ``points`` away from a place of the axes, which are 1 wide and 1 high."""
    where: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(text, at, points, **where, **({"fontsize": 7} | look))


def _title(record: RunRecord) -> tuple[str, str]:
    """Return which network and how it learns; then on what it was trained, how well, which run."""
    model, result = record.spec["model"], record.result
    title = f"{str(model['name']).capitalize()}, {LEARNING[model['learning']][0]}"
    facts = [
        record.data.label,
        count(result.epoch, "epoch"),
        f"test error {result.test_top1_err:.2f} %",
    ]
    return as_text(title), as_text(" · ".join([*facts, run_label(record)]))
