"""Whole commands as a user starts them, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from resbench.bench.contest import Bench, Reading, ratios
from resbench.bench.made import made_results, made_suite
from resbench.bench.measure import Contender, Spread, Timed, take_turns
from resbench.runner.devices import cores

CLI = (sys.executable, "-P", "-m", "resbench.cli.main")
IMPORT_TORCH = (sys.executable, "-c", "import torch")


def start_up(bench: Bench, arguments: tuple[str, ...]) -> list[Reading]:
    """A command against the import of torch alone, which it does without."""
    with _folder() as folder:
        contenders = [
            Contender("ours", 1, partial(_run, folder, *CLI, *arguments)),
            Contender("import torch", 1, partial(_run, folder, *IMPORT_TORCH)),
        ]
        return ratios(take_turns(contenders, bench.rounds(5)), "commands/s")


def plan_of_many_cells(bench: Bench) -> list[Reading]:
    """``resbench plan`` of one suite of 1,000 cells."""
    side = 3 if bench.quick else 10
    with _folder() as folder:
        suite = folder / "many.yaml"
        suite.write_text(made_suite(side))
        return _seconds(bench, folder, f"{side**3} cells", "plan", str(suite))


def report_of_many_runs(bench: Bench) -> list[Reading]:
    """``resbench report`` of all suites over 1,000 finished runs."""
    runs = 30 if bench.quick else 1000
    with _folder() as folder:
        made_results(folder / "results", runs)
        return _seconds(bench, folder, f"{runs} runs", "report", "--results", "results")


def smoke_suite(bench: Bench) -> list[Reading]:
    """``resbench run smoke`` into an empty folder, mirror and start-up included."""
    run = (*CLI, "run", "smoke", "--devices", "cpu")
    short = (*run, "--cell", "local/arl", "--set", "data.train_images=64")
    with _folder() as folder:
        work = partial(_run, folder, *(short if bench.quick else run))
        if not bench.quick:
            _run(folder, *short, "--results", "other")  # compiles what installing may have left
        timed = take_turns([Contender("ours", 1, work)], 1, warm_up=False)
        return [_reading(timed[0], f"{cores()} workers")]


def _seconds(bench: Bench, folder: Path, note: str, *arguments: str) -> list[Reading]:
    run = partial(_run, folder, *CLI, *arguments)
    return [_reading(take_turns([Contender("ours", 1, run)], bench.rounds(5))[0], note)]


def _reading(timed: Timed, note: str) -> Reading:
    cpu_s = Spread.of([1 / rate for rate in timed.cpu])
    return Reading(Spread.of([1 / rate for rate in timed.wall]), cpu_s=cpu_s, note=note)


@contextmanager
def _folder() -> Iterator[Path]:
    # In memory where that can be: writing a thousand runs durably to a disk takes minutes.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="resbench-bench-", dir=memory) as name:
        yield Path(name)


def _run(folder: Path, *command: str) -> None:
    """Run a command in a folder with caches of its own; it must succeed."""
    environment = {**os.environ, "RESBENCH_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")
