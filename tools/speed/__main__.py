"""``python -m tools.speed``: every comparison of a device, one after the other, as one table.

Nothing here is a timed test. Contenders take turns in one process, and ratios come with their
spread. Wall clocks decide; CPU time, of this process and of the children it has waited for, stands
next to them, because it stays steady where other programs share the cores.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import resource
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from resbench import __version__
from resbench.machine import cores
from resbench.runner.devices import gpus
from resbench.runner.worker import worker_variables
from resbench.train.environment import environment, find_device, set_up_device
from tools.speed.comparisons import COMPARISONS, Bench, Comparison, Contender

HEADER = ("what", "against", "ours / other", "times as fast (range)", "by CPU time", "load")
BUSY = 0.3
"""A load average above this share of the cores is a machine that does something else too."""
Seconds = tuple[float, float]
"""By the wall clock, and of CPU."""


def main(arguments: Sequence[str]) -> None:
    """Measure, print the table and, with ``--output``, keep it as JSON and Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tools.speed", description=__doc__)
    parser.add_argument("--device", help="cpu or cuda:N; by default the first GPU, else cpu")
    parser.add_argument("--only", metavar="TEXT", help="comparisons with TEXT in their name")
    parser.add_argument("--quick", action="store_true", help="show that it works; measure nothing")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for JSON and Markdown")
    options = parser.parse_args(arguments)
    found = gpus()
    bench = Bench(find_device(options.device or (found[0].name if found else "cpu")), options.quick)
    set_up_device(bench.device, threads=1)
    machine = {**environment(bench.device), "cores": cores(), "resbench": __version__}
    rows: list[dict[str, Any]] = []
    for comparison in COMPARISONS:
        if comparison.device == bench.device.type and (options.only or "") in comparison.name:
            print(f"measuring {comparison.name}", file=sys.stderr)
            rows += measure(comparison, bench)
            if options.output is not None:  # after each, for a device may be taken away
                keep(rows, machine, bench, options.output)
    print(markdown(rows, machine, bench), end="")


def measure(comparison: Comparison, bench: Bench) -> list[dict[str, Any]]:
    """Return a row for the first contender against each of the others."""
    load = os.getloadavg()[0]
    contenders = comparison.contenders(bench)
    times = take_turns(contenders, 1 if bench.quick else comparison.rounds, bench)
    sides = [
        spread([wall if comparison.unit == "s" else side.units / wall for wall, _ in took])
        for side, took in zip(contenders, times, strict=True)
    ]
    facts = {"what": comparison.name, "unit": comparison.unit, "load": load, "ours": sides[0]}
    more = contenders[0].units
    rows = [
        facts
        | {
            "against": other.name,
            "other": side,
            "ratio": times_as_fast(more / other.units, times[0], took, 0),
            "ratio_by_cpu_time": times_as_fast(more / other.units, times[0], took, 1),
        }
        for other, side, took in zip(contenders[1:], sides[1:], times[1:], strict=True)
    ]
    return rows or [facts]


def take_turns(contenders: Sequence[Contender], rounds: int, bench: Bench) -> list[list[Seconds]]:
    """Time each contender once a round, in alternating order; return its seconds by round.

    Of several contenders a first round is not counted.
    """
    times: dict[str, list[Seconds]] = {contender.name: [] for contender in contenders}
    for number in range(-1 if len(contenders) > 1 else 0, rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            took = _time(contender, bench)
            if number >= 0:
                times[contender.name].append(took)
    return list(times.values())


def _time(contender: Contender, bench: Bench) -> Seconds:
    gc.collect()
    with contender.settings():
        bench.synchronize()
        wall, cpu = time.perf_counter(), _cpu_seconds()
        contender.work()
        bench.synchronize()
        return time.perf_counter() - wall, max(_cpu_seconds() - cpu, 1e-6)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def times_as_fast(
    units: float, ours: Sequence[Seconds], other: Sequence[Seconds], clock: int
) -> dict[str, float]:
    """Return the spread of the quotients of the rounds; ours does ``units`` times as much."""
    rounds = zip(ours, other, strict=True)
    return spread([units * theirs[clock] / mine[clock] for mine, theirs in rounds])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median and range."""
    return {"median": median(values), "low": min(values), "high": max(values)}


def markdown(rows: Sequence[dict[str, Any]], machine: dict[str, Any], bench: Bench) -> str:
    """Return the table with the machine above it and what to mind below it."""
    where = f"{machine['device_name']}, {machine['cores']} cores; Python {machine['python']}"
    lines = [
        "# Speed\n",
        f"{where}, torch {machine['torch']}, {machine['os']}, resbench {machine['resbench']}.\n",
        *(f"| {' | '.join(cells)} |" for cells in (HEADER, ("---",) * len(HEADER))),
        *(f"| {' | '.join(_cells(row))} |" for row in rows),
    ]
    if bench.quick:
        lines.append("\nQuick: narrow networks and one round. It works; it measures nothing.")
    if max((row["load"] for row in rows), default=0) > BUSY * machine["cores"]:
        lines.append("\nOther programs were running: ratios by CPU time are the steadier ones.")
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    sides = [_short(row[side]["median"]) for side in ("ours", "other") if side in row]
    ratios = [_range(row.get(name)) for name in ("ratio", "ratio_by_cpu_time")]
    load = f"{row['load']:.1f}"
    return (
        row["what"],
        row.get("against", ""),
        f"{' / '.join(sides)} {row['unit']}",
        *ratios,
        load,
    )


def _range(spread: dict[str, float] | None) -> str:
    if spread is None:
        return ""
    return f"{_short(spread['median'])} ({_short(spread['low'])}-{_short(spread['high'])})"


def _short(value: float) -> str:
    """Return three digits, in full where there are more before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def keep(
    rows: Sequence[dict[str, Any]], machine: dict[str, Any], bench: Bench, folder: Path
) -> None:
    """Write JSON and Markdown, named by device and day; other rows of that day stay."""
    name = re.sub(r"[^a-z0-9]+", "-", str(machine["device_name"]).lower()).strip("-")
    stem = f"{name}_{datetime.now(UTC):%Y-%m-%d}{'_quick' * bench.quick}"
    folder.mkdir(parents=True, exist_ok=True)
    path, measured = folder / f"{stem}.json", {row["what"] for row in rows}
    earlier = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [*(row for row in earlier if row["what"] not in measured), *rows]
    content = {"quick": bench.quick, "machine": machine, "rows": rows}
    path.write_text(json.dumps(content, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(rows, machine, bench))


if __name__ == "__main__":
    # A worker's environment (allocator, threads, determinism) counts from a process's start.
    if (variables := worker_variables()) != dict(os.environ):
        os.execve(sys.executable, [sys.executable, "-m", "tools.speed", *sys.argv[1:]], variables)
    main(sys.argv[1:])
