"""Time every reading verb on a results folder of many runs.

Usage: ``python -m tools.scale [--runs 10000] [--folder DIR]``. The runs are complete and valid;
their predictions are made up. It prints a row a verb for docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.factory import finish, suite_under
from tests.mini import RESBENCH

SUITE = "table1_arl_vs_nal"
VERBS = (
    ("status",),
    ("report", SUITE),
    ("report", "--format", "json"),
    ("plan", SUITE),
    ("explain", SUITE, "attention-56/arl"),
    ("run", SUITE, "--cell", "attention-56/arl", "--seeds", "1,", "--no-mirror"),
    ("verify",),
    ("pack", "runs.tar"),
    ("merge", "runs.tar", "--results", "merged"),
    ("sync",),
    ("sync",),
)


def fill(results: Path, runs: int) -> None:
    """Write ``runs`` recorded runs of all cells of a suite."""
    expanded = suite_under(SUITE)
    cells = [cell.id for cell in expanded.cells if cell.spec]
    for number in range(runs):
        seed, at = divmod(number, len(cells))
        finish(results, expanded, cells[at], seed + 1, 5.0 + at + seed % 7 / 10)


def timed(folder: Path, verb: Sequence[str]) -> tuple[int, float, float]:
    """Run a verb; return exit code, seconds, and MB at its peak."""
    started = time.perf_counter()
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen([RESBENCH, *verb], cwd=folder, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    return os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss / 1024


def main(arguments: Sequence[str]) -> int:
    """Fill a folder and time the verbs on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    chosen = parser.parse_args(arguments)
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        fill(folder / "results", chosen.runs)
        print("| verb | s | MB |\n| --- | ---: | ---: |")
        for verb in VERBS:
            code, seconds, megabytes = timed(folder, verb)
            ended = "" if code == 0 else f" (exit code {code})"
            print(f"| `resbench {' '.join(verb)}`{ended} | {seconds:.1f} | {megabytes:.0f} |")
            failed |= code != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
