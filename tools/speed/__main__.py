"""``python -m tools.speed``: every comparison of a device, one after the other, as one table."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resbench import __version__
from resbench.machine import cores
from resbench.runner.devices import gpus
from resbench.runner.worker import worker_variables
from resbench.train.determinism import find_device, set_up_device
from resbench.train.environment import environment
from tools.speed.comparisons import COMPARISONS, Bench, Comparison
from tools.speed.turns import Spread, Timed, take_turns

HEADER = ("what", "against", "ours / other", "times as fast (range)", "by CPU time", "load")
BUSY = 0.3
"""A load average above this share of the cores is a machine that does something else too."""


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
    rounds = 1 if bench.quick else comparison.rounds
    ours, *others = take_turns(contenders, rounds, bench.synchronize, warm_up=len(contenders) > 1)
    facts = {"what": comparison.name, "unit": comparison.unit, "load": load}
    if not others:
        return [facts | {"ours": _rate(ours, comparison.unit)}]
    return [
        facts
        | {
            "against": other.name,
            "ours": _rate(ours, comparison.unit),
            "other": _rate(other, comparison.unit),
            "ratio": asdict(ours.over(other)),
            "ratio_by_cpu_time": asdict(ours.over_by_cpu_time(other)),
        }
        for other in others
    ]


def _rate(timed: Timed, unit: str) -> dict[str, float]:
    return asdict(Spread.of([1 / rate if unit == "s" else rate for rate in timed.wall]))


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
