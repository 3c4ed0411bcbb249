"""How much of its workers' time the queue of the runner spends in training.

Usage: ``python -m tools.efficiency [--runs 12] [--epochs 50] [--workers 2]``. Narrow networks on
digits, 10 s a run, by one ``resbench run`` in a temporary folder. Prints the seconds in runs, and
in their epochs, over ``workers`` times the seconds of the whole command. Other programs on the same
cores lengthen all of them alike.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from resbench.store.metrics import EpochTiming, read_epochs
from resbench.words import count
from tests.mini import run_folders, suite_of, write_suite
from tools.scale import timed


def main(arguments: Sequence[str]) -> None:
    """Train, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeds = tuple(range(1, chosen.runs // 2 + 1))
        write_suite(folder, suite_of(total=chosen.epochs, seeds=seeds))
        options = ("--no-mirror", f"--jobs={chosen.workers}")
        code, wall_s, cpu_s, _ = timed(folder, ("run", "mini.yaml", *options))
        if code:
            sys.exit("a run failed")
        runs = run_folders(folder / "results")
        epochs = [row for run in runs for row in read_epochs(run.timing, EpochTiming)]
        in_epochs_s = sum(row.duration_s + row.eval_s for row in epochs)
        in_runs_s = sum(run.record.stat().st_mtime - run.spec.stat().st_mtime for run in runs)
    of_workers_s = chosen.workers * wall_s
    print(
        f"{len(runs)} runs on {count(chosen.workers, 'worker')}: "
        f"{in_runs_s / of_workers_s:.3f} of {of_workers_s:.1f} s of workers in runs, "
        f"{in_epochs_s / of_workers_s:.3f} in epochs; "
        f"CPU {cpu_s:.1f} s, load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
