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
import json
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

from tests.mini import RESBENCH, changed, own_environment, suite_of, write_suite

SUITE = changed(
    suite_of("soak", total=40, seeds=(1, 2, 3, 4, 5, 6)),
    {"base.data.train_images": 16, "base.data.test_images": 10, "base.training.batch_size": 8},
)
"""Many short epochs: kills meet them everywhere, and most of a kill's cost is the next start."""
RUN = ("run", "soak.yaml", "--jobs", "1")
BUDGETS = ((), (), ("--budget", "20s"))
OUTPUTS = ("spec.json", "metrics.jsonl", "predictions.npz")
"""The files of a run that a repetition must give again, byte for byte."""
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


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run resbench in ``folder`` to its end."""
    return subprocess.run(
        [RESBENCH, *arguments], cwd=folder, env=own_environment(folder.parent),
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip


def start(folder: Path, rng: random.Random) -> subprocess.Popen[bytes]:
    """Start a command that trains what is left, perhaps with a budget."""
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [RESBENCH, *RUN, *rng.choice(BUDGETS)], cwd=folder, env=own_environment(folder.parent),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip


def prepare(folder: Path) -> Path:
    """Write the suite into a new folder; return the folder."""
    folder.mkdir(parents=True)
    write_suite(folder, SUITE)
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    """Return every output of the recorded runs of a folder by its path."""
    recorded = (folder / "results" / "runs").glob("*/record.json")
    return {
        f"{record.parent.name}/{name}": (record.parent / name).read_bytes()
        for record in recorded
        for name in OUTPUTS
    }


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
    runners = [start(folder, rng) for _ in range(2)]
    try:
        while struck.total() < kills and any(runner.poll() is None for runner in runners):
            await_moment(folder, rng)
            which = rng.randrange(2)
            if kind := strike(runners[which], rng):
                struck[kind] += 1
            for i, runner in enumerate(runners):
                if runner.poll() is not None and unfinished(folder):  # killed, or out of its budget
                    runners[i] = start(folder, rng)
    finally:
        for runner in runners:
            runner.terminate()
        for runner in runners:
            runner.wait(PATIENCE_S)
    return struck


def unfinished(folder: Path) -> bool:
    """Say whether any run has no record yet."""
    expected = len(SUITE["seeds"]) * len(SUITE["matrix"]["learning"])
    return len(list((folder / "results").glob("runs/*/record.json"))) < expected


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
    """Return where the outputs of a disturbed folder differ from those of a calm one."""
    return [
        *(f"lost: {name}" for name in undisturbed.keys() - found.keys()),
        *(f"too many: {name}" for name in found.keys() - undisturbed.keys()),
        *(
            f"other bits: {name}"
            for name in found
            if undisturbed.get(name, found[name]) != found[name]
        ),
    ]


def inspect(folder: Path, undisturbed: dict[str, bytes]) -> list[str]:
    """Finish a disturbed folder and return everything about it that must not be."""
    faults = []
    for arguments in ((*RUN, "--no-mirror"), ("verify",), ("sync",)):
        done = command(folder, *arguments)
        if done.returncode:
            faults.append(f"resbench {arguments[0]} ended with {done.returncode}: {done.stderr}")
    faults += compared(undisturbed, outputs(folder))
    faults += [f"left over: {path.name}" for path in folder.rglob(".tmp-*")]
    keys = {name.partition("/")[0] for name in undisturbed}
    faults += mirror_faults(folder / "results" / "mlflow.db", len(keys))
    for process in psutil.process_iter(["cwd", "cmdline"]):
        if process.info["cwd"] == str(folder):
            faults.append(f"still alive: {' '.join(process.info['cmdline'])}")
    return faults


def mirror_faults(database: Path, runs: int) -> list[str]:
    """Return what is wrong in the MLflow store: each run is there once, and finished."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        query = (
            "SELECT status, COUNT(*) FROM runs JOIN tags USING (run_uuid) WHERE "
            "lifecycle_stage = 'active' AND tags.key = 'resbench.key' GROUP BY status"
        )
        states = dict(connection.execute(query).fetchall())
    return [] if states == {"FINISHED": runs} else [f"MLflow: {states}, not {runs} finished runs"]


def resumed(folder: Path) -> int:
    """Return how many runs were trained in more than one piece."""
    records = (folder / "results" / "runs").glob("*/record.json")
    return sum(json.loads(record.read_text())["timing"]["pieces"] > 1 for record in records)


def campaign(folder: Path, kills: int, seed: int) -> Tally:
    """Kill ``kills`` times, in as many rounds as that takes."""
    rng, tally, number = random.Random(seed), Tally(), 0
    calm = prepare(folder / "undisturbed")
    done = command(calm, "run", "soak.yaml", "--no-mirror")
    if done.returncode:
        tally.faults.append(done.stderr)
        return tally
    undisturbed = outputs(calm)
    while tally.kills.total() < kills:
        number += 1
        round_ = prepare(folder / f"round-{number}")
        struck = disturb(round_, kills - tally.kills.total(), rng)
        faults = inspect(round_, undisturbed)
        tally.kills += struck
        tally.runs += len(undisturbed) // len(OUTPUTS)
        tally.resumed += (again := resumed(round_))
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
