"""One figure: what networks make of test images, a block for each run, a row for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resbench.analysis.names import run_label
from resbench.report.figures import as_text, picture, style
from resbench.store.records import RunRecord
from resbench.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    side = (WIDTH - LEFT - RIGHT - stages * STAGE_GAP - 2 * stages * GAP) / (1 + 3 * stages)
    heights = [
        TITLE + HEAD + len(observed.images) * (side + GAP) + BAR + FOOT for _, observed in runs
    ]
    top = sum(heights)
    canvas = _Canvas(Figure(figsize=(WIDTH, top)), top, side)
    for (record, observed), height in zip(runs, heights, strict=True):
        _draw_run(canvas, record, observed, top)
        top -= height
    return canvas.figure


@dataclass(frozen=True)
class _Canvas:
    """A figure on which things are placed in inches from its lower left corner."""

    figure: Figure
    height: float
    side: float

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        box = (x / WIDTH, y / self.height, width / WIDTH, height / self.height)
        axes = self.figure.add_axes(box)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def text(self, x: float, y: float, text: str, **look: Any) -> None:
        self.figure.text(x / WIDTH, y / self.height, text, **look)


def _draw_run(canvas: _Canvas, record: RunRecord, observed: Observed, top: float) -> None:
    side, (title, facts) = canvas.side, _title(record)
    canvas.text(LEFT, top - 0.06, title, va="top", fontsize=8)
    canvas.text(LEFT, top - 0.23, facts, va="top", fontsize=6.5, color="0.35")
    first = top - TITLE - HEAD - side
    centre = LEFT + side / 2
    canvas.text(centre, first + side + 0.05, "input", ha="center", va="bottom", fontsize=7)
    for i, pixels in enumerate(observed.images):
        y = first - i * (side + GAP)
        canvas.axes(LEFT, y, side, side).imshow(pixels)
        right = observed.true[i] == observed.predicted[i]
        look: dict[str, Any] = {"ha": "right", "fontsize": 7}
        canvas.text(
            LEFT - 0.08, y + side / 2 + 0.02, as_text(observed.true[i]), va="bottom", **look
        )
        said = f"predicted {as_text(observed.predicted[i])}"
        colour = "0.35" if right else "#D55E00"  # vermilion of the colour-blind palette
        canvas.text(LEFT - 0.08, y + side / 2 - 0.02, said, va="top", color=colour, **look)
    x = LEFT + side + STAGE_GAP
    output = LEARNING[record.spec["model"]["learning"]][1]
    for number, stage in enumerate(observed.stages, 1):
        height, width = stage["mask"].shape[1:]
        across = x + (3 * side + 2 * GAP) / 2
        canvas.text(across, first + side + 0.2, f"stage {number}, {height} × {width}",
                    ha="center", va="bottom", fontsize=7, fontweight="bold")  # fmt: skip
        reach = max(abs(stage[part]).max() for part in ("trunk", "output"))
        columns: tuple[tuple[str, Maps, str, tuple[float, float]], ...] = (
            ("trunk T", stage["trunk"], "RdBu_r", (-reach, reach)),
            ("mask M", stage["mask"], "magma", (stage["mask"].min(), stage["mask"].max())),
            (output, stage["output"], "RdBu_r", (-reach, reach)),
        )
        for name, maps, colours, ends in columns:
            canvas.text(x + side / 2, first + side + 0.05, name, ha="center", va="bottom",
                        fontsize=7)  # fmt: skip
            _draw_column(canvas, x, first, maps, colours, ends)
            x += side + GAP
        x += STAGE_GAP - GAP


def _draw_column(
    canvas: _Canvas, x: float, first: float, maps: Maps, colours: str, ends: tuple[float, float]
) -> None:
    """Draw an image's map a row, and below them the scale that they share."""
    import numpy as np

    side = canvas.side
    for i, values in enumerate(maps):
        axes = canvas.axes(x, first - i * (side + GAP), side, side)
        axes.imshow(values, cmap=colours, vmin=ends[0], vmax=ends[1])
    below = first - (len(maps) - 1) * (side + GAP) - GAP - BAR
    axes = canvas.axes(x, below, side, BAR)
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=colours, aspect="auto")
    for value, at, ha in ((ends[0], x, "left"), (ends[1], x + side, "right")):
        canvas.text(at, below - 0.03, f"{value:.2f}", ha=ha, va="top", fontsize=5.5)


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
