"""Real commands on real digits, and ways to harm them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import psutil

from resbench.store.layout import RunFolder
from resbench.store.locks import is_locked
from resbench.store.records import RunRecord, read_record
from resbench.suite.spec import RunSpec

from ..mini import RESBENCH, Done, changed, outputs, ran, spec_of, suite_of, wait_until, write_suite

EPOCHS, IMAGES = 12, 32
"""A run of two steps an epoch: one is met in its middle, and still takes about a second."""
SUITE = changed(suite_of(total=EPOCHS), {"base.data.train_images": IMAGES})
RUN = (RESBENCH, "run", "mini.yaml", "--no-mirror")
ARL = (*RUN, "--cell", "arl")
"""The command that trains one run."""


def spec(learning: str = "arl", seed: int = 1) -> RunSpec:
    """The specification of a run of the suite that :func:`prepare` writes."""
    schedule = {
        "unit": "epoch",
        "total": EPOCHS,
        "drops": [{"at": EPOCHS - 1, "factor": 0.1}],
        "warmup": None,
    }
    return spec_of(
        data__train_images=IMAGES,
        model__learning=learning,
        seed=seed,
        training__schedule=schedule,
    )


def prepare(folder: Path, seeds: tuple[int, ...] = (1,)) -> Path:
    """Write ``mini.yaml`` into ``folder`` and return the folder."""
    folder.mkdir(exist_ok=True)
    write_suite(folder, {**SUITE, "seeds": seeds})
    return folder


def copy_of(folder: Path, new: Path) -> Path:
    """Copy a folder with its suite and its results, which have nobody at work in them."""
    shutil.copytree(folder, new, dirs_exist_ok=True)
    return new


def run_in(folder: Path, learning: str = "arl", seed: int = 1) -> RunFolder:
    return RunFolder(folder / "results", spec(learning, seed).key)


def record_in(folder: Path, learning: str = "arl", seed: int = 1) -> RunRecord:
    return read_record(run_in(folder, learning, seed))


def epochs_in(run: RunFolder) -> list[int]:
    """Numbers of the whole lines of a run's metrics."""
    if not run.metrics.exists():
        return []
    whole = run.metrics.read_bytes().rpartition(b"\n")[0]
    return [json.loads(line)["epoch"] for line in whole.splitlines()]


def wait_for_epochs(folder: Path, process: subprocess.Popen[str], more_than: int) -> None:
    """Wait until the ARL run has more epochs behind it, or the command has ended."""
    run = run_in(folder)
    wait_until(
        lambda: process.poll() is not None or len(epochs_in(run)) > more_than,
        f"epoch {more_than + 1}",
    )


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended; nobody may have reaped it yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill_parent(process: subprocess.Popen[str]) -> None:
    """Kill the command with signal 9 and wait until its workers have followed it."""
    workers = workers_of(process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for worker in workers:
        wait_until(partial(gone, worker), "a worker to die with its parent")


def nobody_at_work(folder: Path) -> bool:
    return not any(is_locked(path) for path in (folder / "results" / "runs").iterdir())


def assert_left_in_order(folder: Path) -> None:
    """Nobody is at work, and no temporary file is left."""
    assert nobody_at_work(folder)
    assert list(folder.rglob(".tmp-*")) == []


def ran_well(folder: Path, *command: str, **variables: str) -> Done:
    """Run a command that must end with exit code 0."""
    done = ran(folder, *command, **variables)
    assert done.returncode == 0, done.stderr
    return done


def assert_ends_as(unbroken: Path, folder: Path, *command: str) -> None:
    """Run a command, after which the runs of ``folder`` have the bits of unbroken ones."""
    ran_well(folder, *(command or ARL))
    assert outputs(folder / "results") == outputs(unbroken / "results")


def failing(faults: Mapping[str, str], command: tuple[str, ...] = RUN) -> tuple[str, ...]:
    """Return ``command`` with workers whose runs fail: run key (or ``*``) -> what happens to it."""
    driver = str(Path(__file__).with_name("failing_command.py"))
    return (sys.executable, driver, json.dumps(dict(faults)), *command[1:])
