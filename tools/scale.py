"""Measure resbench with many runs: every verb, many commands at once, many runs in one command.

Usage: ``python -m tools.scale [--runs 10000] [--runners 8] [--tiny 1000] [--folder DIR]``; 0 leaves
a part out. The runs that verbs read are complete and valid, their predictions are made up; the
others are trained. It prints rows for docs/reliability.md. Exit code 1 where something must not be.
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

import psutil

from resbench.store.records import read_record
from tests.factory import finish, suite_under
from tests.mini import RESBENCH, changed, own_environment, run_folders, suite_of, write_suite

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
    ("compare", "results", "merged"),
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


def start(folder: Path, *words: str, **variables: str) -> subprocess.Popen[bytes]:
    """Start resbench in ``folder``; what it prints goes into ``output.txt``."""
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [RESBENCH, *words], cwd=folder, env=own_environment(folder.parent, **variables),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip


def timed(folder: Path, verb: Sequence[str]) -> tuple[int, float, float, float]:
    """Run a verb; return exit code, seconds, seconds of CPU, and MB at its peak."""
    started = time.perf_counter()
    process = start(folder, *verb)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    code = process.returncode = os.waitstatus_to_exitcode(status)
    return code, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def verbs(folder: Path, runs: int) -> list[str]:
    """Time every verb on a folder of ``runs`` runs; return what failed."""
    fill(folder / "results", runs)
    failed = []
    print("| verb | s | CPU s | MB |\n| --- | ---: | ---: | ---: |")
    for verb in VERBS:
        code, seconds, cpu_s, megabytes = timed(folder, verb)
        words = f"resbench {' '.join(verb)}"
        print(f"| `{words}` | {seconds:.1f} | {cpu_s:.1f} | {megabytes:.0f} |", flush=True)
        if code:
            failed.append(f"{words}: exit code {code}")
    return failed


def train(folder: Path) -> subprocess.Popen[bytes]:
    """Start a command that trains every run of the suite in ``folder``."""
    words = ("run", "many.yaml", "--jobs", "1", "--no-mirror")
    return start(folder, *words, TMPDIR=str(folder / "temporary"))


def prepare(folder: Path, runs: int, epochs: int) -> None:
    """Write a suite of the smallest runs that can be trained."""
    small = {
        "base.data.train_images": 16, "base.data.test_images": 10, "base.training.batch_size": 8,
        "base.training.schedule.drops": [],
    }  # fmt: skip
    suite = suite_of("many", total=epochs, seeds=tuple(range(1, runs // 2 + 1)))
    (folder / "temporary").mkdir(parents=True)
    write_suite(folder, changed(suite, small))


def left_over(folder: Path) -> list[str]:
    """Return what commands have left in ``folder``: temporary files, and processes at work."""
    faults = [f"left over: {path}" for path in folder.rglob(".tmp-*")]
    for process in psutil.process_iter(["cwd", "cmdline"]):
        if process.info["cwd"] == str(folder):
            faults.append(f"still alive: {process.info['cmdline']}")
    return faults


def faults_of(folder: Path, runs: int) -> list[str]:
    """Return what must not be when all runs of ``folder`` are trained: each once, nothing else."""
    folders = run_folders(folder / "results")
    faults = [f"{len(folders)} runs, not {runs}"] if len(folders) != runs else []
    for run in folders:
        if (pieces := read_record(run).timing.pieces) != 1:
            faults.append(f"{run.key}: trained in {pieces} pieces")
    faults += [f"left over: {path}" for path in (folder / "temporary").iterdir()]
    return faults + left_over(folder)


def runners(folder: Path, number: int) -> list[str]:
    """Let commands train two runs each in one folder; return what must not be."""
    prepare(folder, 2 * number, epochs=20)
    commands = [train(folder) for _ in range(number)]
    faults = [f"exit code {code}" for command in commands if (code := command.wait())]
    print(f"{number} commands trained {2 * number} runs", flush=True)
    return faults + faults_of(folder, 2 * number)


def tiny(folder: Path, runs: int) -> list[str]:
    """Train many runs in one command and watch it; return what must not be."""
    prepare(folder, runs, epochs=1)
    command, seen = train(folder), {}
    while command.poll() is None:
        time.sleep(1.0)
        done = len(list((folder / "results").glob("runs/*/record.json")))
        try:
            process = psutil.Process(command.pid)
            family = [process, *process.children(recursive=True)]
            if len(family) == 1:  # starting, or ending
                continue
            seen[done] = (
                sum(each.memory_info().rss for each in family) >> 20,
                sum(each.num_fds() for each in family),
                len(family),
            )
        except psutil.Error:  # one has just ended
            continue
    print("| runs recorded | MB | handles | processes |\n| ---: | ---: | ---: | ---: |")
    for share in (0.1, 0.25, 0.5, 0.75, 0.97):
        done = min(seen, key=lambda done: abs(done - share * runs))
        print(f"| {done} | " + " | ".join(map(str, seen[done])) + " |", flush=True)
    faults = [f"exit code {command.returncode}"] if command.returncode else []
    return faults + faults_of(folder, runs)


def main(arguments: Sequence[str]) -> int:
    """Run the parts and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--runners", type=int, default=8)
    parser.add_argument("--tiny", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    chosen = parser.parse_args(arguments)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = (chosen.folder or Path(temporary)).resolve()
        for part, number in ((runners, chosen.runners), (tiny, chosen.tiny), (verbs, chosen.runs)):
            if number:
                faults += part(folder / part.__name__, number)
    print(*faults, sep="\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
