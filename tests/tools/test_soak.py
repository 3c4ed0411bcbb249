"""The campaign of kills notices what it looks for, and strikes what it says."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tools import soak

from ..faults.running import gone
from ..mini import wait_until

CALM = {"1/metrics.jsonl": b"1", "2/metrics.jsonl": b"2"}


@pytest.mark.parametrize(
    ("found", "faults"),
    [
        (CALM, []),
        ({"1/metrics.jsonl": b"1"}, ["differs: 2/metrics.jsonl"]),
        ({**CALM, "3/metrics.jsonl": b"3"}, ["differs: 3/metrics.jsonl"]),
        ({**CALM, "2/metrics.jsonl": b"x"}, ["differs: 2/metrics.jsonl"]),
    ],
)
def test_every_difference_is_a_fault(found: dict[str, bytes], faults: list[str]) -> None:
    assert soak.compared(CALM, found) == faults


@pytest.mark.parametrize(
    ("states", "faults"),
    [
        (["FINISHED", "FINISHED"], 0),
        (["FINISHED", "RUNNING"], 1),
        (["FINISHED"], 1),
        (["FINISHED"] * 3, 1),
    ],
)
def test_the_mirror_must_hold_every_run_once_and_finished(
    tmp_path: Path, states: list[str], faults: int
) -> None:
    database = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE runs (run_uuid INT, status TEXT, lifecycle_stage TEXT)")
        connection.execute("CREATE TABLE tags (run_uuid INT, key TEXT)")
        rows = list(enumerate(states))
        connection.executemany("INSERT INTO runs VALUES (?, ?, 'active')", rows)
        connection.executemany("INSERT INTO tags VALUES (?, 'resbench.key')", [r[:1] for r in rows])
        connection.commit()
    assert len(soak.mirror_faults(database, 2)) == faults


def test_a_command_whose_mirror_was_killed_is_struck_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = (
        "import subprocess, sys\n"
        "ended, worker = [subprocess.Popen(['sleep', s]) for s in ('0', '600')]\n"
        "print(ended.pid, worker.pid, flush=True); worker.wait(); input()"
    )
    command = [sys.executable, "-c", child]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ended, worker = (psutil.Process(int(pid)) for pid in process.stdout.readline().split())
        wait_until(lambda: ended.status() == psutil.STATUS_ZOMBIE, "the end of a child")
        rng = random.Random()
        monkeypatch.setattr(rng, "choice", lambda _: "worker")
        assert soak.strike(process, rng) == "worker"
        wait_until(lambda: gone(worker), "the worker's death")
        process.kill()


def test_a_strike_kills_a_process_of_the_command() -> None:
    child = (
        "import subprocess, sys\n"
        "sys.exit(subprocess.run([sys.executable, '-c', 'input()']).returncode)"
    )
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE) as process:
        while soak.strike(process, random.Random(0)) is None:
            pass
        assert process.wait() != 0
