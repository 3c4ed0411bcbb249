"""Measured goals as a page, for every format that reports have."""

from __future__ import annotations

from collections.abc import Sequence

from resbench.bench.contest import Bench
from resbench.bench.measure import Spread
from resbench.bench.outcome import BUSY, Row, machine, to_json
from resbench.report.blocks import Block, Grid, Heading, Items, Page, Text

HEADER = (
    "goal", "measured", "against", "ours", "other side", "result\nmedian (min to max)",
    "by CPU time", "floor / target\n/ stretch", "reached",
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
        Grid(HEADER, tuple(map(_cells, rows)), "lllrrrrrl"),
    ]
    notes = _notes(rows, bench)
    if notes:
        blocks.append(Items(tuple(notes)))
    return Page(tuple(blocks), to_json(rows, bench))


def _cells(row: Row) -> tuple[str, ...]:
    reading, aims = row.reading, " / ".join("-" if aim is None else f"{aim:g}" for aim in row.aims)
    if reading is None:
        return (row.goal, row.metric, "", "", "", "not measured", "", aims, "")
    by_cpu = f"{_range(reading.cpu_s)} s" if reading.cpu_s else _range(reading.by_cpu_time)
    return (
        row.goal,
        row.metric,
        reading.against,
        f"{_short(reading.ours.median)} {reading.rates}" if reading.ours else "",
        f"{_short(reading.other.median)} {reading.rates}" if reading.other else "",
        f"{_range(reading.value)} {row.unit}",
        by_cpu,
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
    return f"{_short(spread.median)} ({_short(spread.low)} to {_short(spread.high)})"


def _short(value: float) -> str:
    """Return three digits, in full where there are more before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
