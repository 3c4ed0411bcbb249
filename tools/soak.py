"""Kill resbench at random moments, again and again, and count what was lost: it must be nothing.

Two commands share a results folder, some with a budget, all with the MLflow mirror. At random
moments one command, one worker, the mirror, or a command with all its processes gets SIGKILL; what
ended is started again. When all runs are recorded, every output is compared with that of a suite
that nobody disturbed, and the next round starts in an empty folder until the kills are used up.

Usage: ``python -m tools.soak [--kills 25] [--seed 1] [--folder DIR]``. It prints one line a round
and a row for docs/reliability.md. Exit code 1 where something was lost or differs.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from resbench.store.records import read_record
from tests.mini import changed, outputs, run_folders, suite_of, write_suite
from tools.scale import left_over, start

RUNS = 12
SUITE = changed(
    suite_of("soak", total=40, seeds=tuple(range(1, RUNS // 2 + 1))),
    {"base.data.train_images": 16, "base.data.test_images": 10, "base.training.batch_size": 8},
)
"""Many short epochs: kills meet them everywhere, and most of a kill's cost is the next start."""
RUN = ("run", "soak.yaml", "--jobs", "1")
BUDGETS = ((), (), ("--budget", "20s"))
PATIENCE_S = 900


@dataclass
class Tally:
    """What a campaign did and found."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    resumed: int = 0
    """Runs that took more than one piece."""
    faults: list[str] = field(default_factory=list)
    """Everything that must not be: runs lost, other bits, leftovers."""


def prepare(folder: Path) -> Path:
    """Write the suite into a new folder; return the folder."""
    folder.mkdir(parents=True)
    write_suite(folder, SUITE)
    return folder


def failed(folder: Path, *words: str) -> list[str]:
    """Run resbench in ``folder`` to its end; return what went wrong."""
    code = start(folder, *words).wait(PATIENCE_S)
    said = (folder / "output.txt").read_text(errors="replace")[-1000:]
    return [f"resbench {words[0]} ended with {code}: {said}"] if code else []


def strike(runner: subprocess.Popen[bytes], rng: random.Random) -> str | None:
    """Kill a command or processes of it; return which, or None where it has none of that kind."""
    kind = rng.choice(("command", "worker", "mirror", "all"))
    victims: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(runner.pid)
        children = [
            child
            for child in process.children(recursive=True)
            if child.status() != psutil.STATUS_ZOMBIE  # a mirror that was killed before
        ]
        mirrors = [child for child in children if "resbench.tracking" in " ".join(child.cmdline())]
        workers = [child for child in children if child not in mirrors]
        victims = {
            "command": [process], "worker": workers[:1], "mirror": mirrors[:1],
            "all": [process, *children],
        }[kind]  # fmt: skip
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    return kind if victims else None


def disturb(folder: Path, kills: int, rng: random.Random) -> Counter[str]:
    """Train with two commands at once and kill, until all is recorded or the kills are used up."""
    struck: Counter[str] = Counter()

    def train() -> subprocess.Popen[bytes]:
        return start(folder, *RUN, *rng.choice(BUDGETS))

    runners = [train(), train()]
    try:
        while struck.total() < kills and any(runner.poll() is None for runner in runners):
            await_moment(folder, rng)
            if kind := strike(rng.choice(runners), rng):
                struck[kind] += 1
            recorded = len(list((folder / "results").glob("runs/*/record.json")))
            for i, runner in enumerate(runners):
                if runner.poll() is not None and recorded < RUNS:  # killed, or out of its budget
                    runners[i] = train()
    finally:
        for runner in runners:
            runner.terminate()
        for runner in runners:
            runner.wait(PATIENCE_S)
    return struck


def await_moment(folder: Path, rng: random.Random) -> None:
    """Wait for a moment to strike: mostly during training, else whenever it may be."""
    before, deadline = epochs(folder), time.monotonic() + 60
    if rng.random() < 0.75:
        while epochs(folder) == before and time.monotonic() < deadline:
            time.sleep(0.05)
    time.sleep(rng.uniform(0.0, 1.5))


def epochs(folder: Path) -> int:
    """Return how many epochs all runs have behind them."""
    return sum(
        path.read_bytes().count(b"\n") for path in (folder / "results").glob("runs/*/metrics.jsonl")
    )


def compared(undisturbed: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    """Return the outputs that a disturbed folder has lost, has too many, or has other bits of."""
    names = sorted(undisturbed.keys() | found.keys())
    return [f"differs: {name}" for name in names if undisturbed.get(name) != found.get(name)]


def inspect(folder: Path, undisturbed: dict[str, bytes]) -> list[str]:
    """Finish a disturbed folder and return everything about it that must not be."""
    faults = []
    for words in ((*RUN, "--no-mirror"), ("verify",), ("sync",)):
        faults += failed(folder, *words)
    faults += compared(undisturbed, outputs(folder / "results"))
    return faults + left_over(folder) + mirror_faults(folder / "results" / "mlflow.db", RUNS)


def mirror_faults(database: Path, runs: int) -> list[str]:
    """Return what is wrong in the MLflow store: each run is there once, and finished."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        query = (
            "SELECT status, COUNT(*) FROM runs JOIN tags USING (run_uuid) WHERE "
            "lifecycle_stage = 'active' AND tags.key = 'resbench.key' GROUP BY status"
        )
        states = dict(connection.execute(query).fetchall())
    return [] if states == {"FINISHED": runs} else [f"MLflow: {states}, not {runs} finished runs"]


def campaign(folder: Path, kills: int, seed: int) -> Tally:
    """Kill ``kills`` times, in as many rounds as that takes."""
    rng, number = random.Random(seed), 0
    calm = prepare(folder / "undisturbed")
    tally = Tally(faults=failed(calm, *RUN, "--no-mirror"))
    if tally.faults:
        return tally
    while tally.kills.total() < kills:
        number += 1
        round_ = prepare(folder / f"round-{number}")
        struck = disturb(round_, kills - tally.kills.total(), rng)
        faults = inspect(round_, outputs(calm / "results"))
        runs = run_folders(round_ / "results")
        again = sum(run.record.exists() and read_record(run).timing.pieces > 1 for run in runs)
        tally.kills += struck
        tally.runs += RUNS
        tally.resumed += again
        tally.faults += faults
        said = f"{struck.total()} kills, {again} resumed, {len(faults)} faults"
        print("\n  ".join([f"round {number}: {said}", *faults]), flush=True)
        if not faults:  # else it is kept to be looked at
            shutil.rmtree(round_)
    return tally


def main(arguments: Sequence[str]) -> int:
    """Run a campaign and print its row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary).resolve()
        tally = campaign(folder, chosen.kills, chosen.seed)
    kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(tally.kills.items()))
    print(
        f"{tally.kills.total()} kills ({kinds}); {tally.runs} runs, {tally.resumed} resumed; "
        f"{len(tally.faults)} faults"
    )
    return bool(tally.faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
