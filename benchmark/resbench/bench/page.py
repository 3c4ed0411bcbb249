"""Measured goals as a page, for every format that reports have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from resbench.bench.contest import Bench
from resbench.bench.goals import GOALS
from resbench.bench.measure import Spread
from resbench.bench.outcome import BUSY, Row, earlier_rows, file_stem, machine
from resbench.report.document import SCHEMA, Block, Grid, Heading, Items, Page, Text
from resbench.report.render import RENDERERS
from resbench.store.atomic import fault, write_atomic

HEADER = (
    "goal", "measured", "against", "ours / other", "median (range)", "by CPU time",
    "floor / target\n/ stretch", "reached",
)  # fmt: skip


def bench_page(rows: Sequence[Row], bench: Bench) -> Page:
    """Return all rows, the machine, and what to mind about them."""
    facts = machine(bench)
    where = f"{facts['device_name']}, " + (
        f"CUDA {facts['cuda']}" if bench.on_gpu else f"{facts['cores']} cores"
    )
    blocks: list[Block] = [
        Heading(1, "Speed"),
        Text(
            f"{where}; Python {facts['python']}, torch {facts['torch']}, {facts['os']}, resbench "
            f"{facts['resbench']}. A ratio is how many times as fast ours is."
        ),
        Grid(HEADER, tuple(map(_cells, rows)), "lllrrrrl"),
    ]
    notes = _notes(rows, bench)
    if notes:
        blocks.append(Items(tuple(notes)))
    data = {"schema": SCHEMA, "quick": bench.quick, "machine": facts}
    return Page(tuple(blocks), {**data, "rows": [asdict(row) for row in rows]})


def write(rows: Sequence[Row], bench: Bench, folder: Path) -> list[Path]:
    """Write JSON and Markdown for this device and day; return the files.

    Rows of other goals that the files have already are kept.

    Raises:
        EnvironmentFault: the system refused, or the older file is damaged.
    """
    stem = folder / file_stem(bench)
    files = [stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.md")]
    everything = [*rows, *earlier_rows(files[0], rows)]
    in_order = [
        row
        for goal in GOALS
        for row in everything
        if (row.goal, row.metric) == (goal.name, goal.metric)
    ]
    page = bench_page(in_order, bench)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise fault(folder, error) from error
    for path, form in zip(files, ("json", "markdown"), strict=True):
        write_atomic(path, RENDERERS[form](page).encode())
    return files


def _cells(row: Row) -> tuple[str, ...]:
    reading, aims = row.reading, " / ".join("-" if aim is None else f"{aim:g}" for aim in row.aims)
    if reading is None:
        return (row.goal, row.metric, "", "", "not measured", "", aims, "")
    pair = (reading.ours, reading.other)
    rates = " / ".join(_short(spread.median) for spread in pair if spread)
    return (
        row.goal,
        row.metric,
        reading.against,
        f"{rates} {reading.rates}" if rates else "",
        f"{_range(reading.value)} {row.unit}",
        f"{_range(reading.cpu_s)} s" if reading.cpu_s else _range(reading.by_cpu_time),
        aims if reading.judged else "",
        row.level or "",
    )


def _notes(rows: Sequence[Row], bench: Bench) -> list[str]:
    notes = [f"{row.goal} {row.metric}: {row.error}" for row in rows if row.error]
    notes += [
        f"{row.goal} {row.metric}: {row.reading.note}."
        for row in rows
        if row.reading is not None and row.reading.note
    ]
    if bench.quick:
        notes.append("Quick: narrow networks and one round. It works; it measures nothing.")
    busy = max((row.load for row in rows), default=0.0)
    if busy > BUSY * machine(bench)["cores"]:
        notes.append(
            f"The load average was up to {busy:.1f} before a measurement: other programs were "
            "running, and ratios by CPU time are the steadier ones."
        )
    return notes


def _range(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.low == spread.high:
        return _short(spread.median)
    return f"{_short(spread.median)} ({_short(spread.low)}-{_short(spread.high)})"


def _short(value: float) -> str:
    """Return three digits, in full where there are more before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
