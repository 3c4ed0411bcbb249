"""The mirror process never harms a run, and what it missed is made good."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from resbench.store.state import Status
from resbench.tracking.client import QUEUE, MirrorClient
from resbench.tracking.sync import sync

from . import factory
from .factory import NAME, SUITE, Tables
from .session import begin_event, end_event, eventually, started


@pytest.fixture
def worker() -> Iterator[int]:
    """A process that is busy while the test is."""
    code = "import time\nwhile True: time.sleep(0.01); sum(range(20000))"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        yield process.pid
        process.kill()


def process_of(client: MirrorClient) -> psutil.Process:
    assert client._process is not None
    return psutil.Process(client._process.pid)


def test_live_runs_arrive_with_honest_ends(results: Path, tables: Tables, worker: int) -> None:
    client = started(results)
    outcomes = {
        "done": Status.INTERRUPTED,
        "budget": Status.INTERRUPTED,
        "interrupted": Status.INTERRUPTED,
        "failed": Status.FAILED,
        "oom": Status.OOM,
        "timeout": Status.TIMEOUT,
    }
    for seed, (outcome, status) in enumerate(outcomes.items(), start=1):
        client.send(begin_event(seed, worker))
        run = factory.begin(results, seed, epochs=2, status=status)
        client.send({"event": "epoch", "key": run.key, "epoch": 2})
        if outcome == "done":
            eventually(lambda: tables.points("key LIKE 'metrics/%' AND status = 'RUNNING'"))
            time.sleep(1.2)  # long enough for a share of the CPU
            factory.train(run, seed, 3, factory.EPOCHS)
            factory.finish(run, seed)
        client.send(end_event(outcome, seed))
    summary = client.close(timeout_s=60)
    assert (summary.mirrored, summary.missing, summary.warnings) == (len(outcomes), 0, ())
    ends = ["FINISHED", "KILLED", "KILLED", "FAILED", "FAILED", "FAILED"]
    assert [status for _, _, status in tables.runs()] == ends
    statuses = ["done", "failed", "interrupted", "interrupted", "oom", "timeout"]
    assert sorted(tables.tags("resbench.status")) == statuses
    [memory, *_] = tables.points("key = 'system/worker_memory_usage_megabytes'")
    assert 1 < memory[2] < 1000
    assert sync(results).unchanged == len(outcomes)


def test_a_parent_that_is_killed_leaves_no_running_run(results: Path, tables: Tables) -> None:
    runs = [factory.begin(results, seed, epochs=1) for seed in (1, 2)]
    code = (
        "import json, sys, time; from pathlib import Path\n"
        "from resbench.tracking.client import MirrorClient\n"
        "client = MirrorClient(None, Path(sys.argv[1])); client.start()\n"
        "for event in sys.argv[2:]: client.send(json.loads(event))\n"
        "print(client._process.pid, flush=True); time.sleep(600)"
    )
    events = [json.dumps(begin_event(seed)) for seed in (1, 2)]
    command = [sys.executable, "-c", code, str(results), *events]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        mirror = psutil.Process(int(parent.stdout.readline()))
        eventually(lambda: [status for _, _, status in tables.runs()] == ["RUNNING"] * 2)
        for seed, run in enumerate(runs, start=1):
            factory.train(run, seed, 2, 2)  # nobody tells of this epoch
        parent.kill()
    psutil.wait_procs([mirror], timeout=120)
    assert not mirror.is_running()
    assert [status for _, _, status in tables.runs()] == ["KILLED"] * 2
    assert len(tables.points("key = 'metrics/test_loss'")) == 4


def test_a_mirror_that_is_killed_is_made_good_by_sync(results: Path, tables: Tables) -> None:
    client = started(results)
    client.send(begin_event())
    run = factory.begin(results, epochs=1)
    eventually(lambda: tables.runs() == [(SUITE, NAME, "RUNNING")])
    process_of(client).kill()
    factory.train(run, 1, 2, factory.EPOCHS)
    for _ in range(3):
        client.send({"event": "epoch", "key": run.key})
    factory.finish(run)
    client.send(end_event("done"))
    summary = client.close()
    assert (summary.mirrored, summary.missing) == (0, 1)
    assert "ended with exit code -9" in summary.warnings[0]
    assert summary.warnings[1].endswith(f"Run `resbench sync --results {results}`.")
    sync(results)
    assert tables.runs() == [(SUITE, NAME, "FINISHED")]
    steps = [step for _, step, _ in tables.points("key = 'metrics/test_loss'")]
    assert steps == [1, 2, 3]


def lost_s(client: MirrorClient, results: Path, runs: int = 3) -> float:
    """Seconds that a session of some runs spends in the client."""
    start = time.monotonic()
    for seed in range(1, runs + 1):
        client.send(begin_event(seed))
        for _ in range(50):
            client.send({"event": "epoch", "key": begin_event(seed)["key"]})
        client.send(end_event("done", seed))
    sending = time.monotonic() - start
    for seed in range(1, runs + 1):
        factory.finished(results, seed)
    eventually(lambda: client.warnings)  # training goes on, and the mirror has failed meanwhile
    start = time.monotonic()
    client.close()
    return sending + time.monotonic() - start


def test_a_closed_port_costs_little_and_is_one_warning(results: Path, tables: Tables) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    client = started(results, f"http://127.0.0.1:{port}")
    assert lost_s(client, results) < 5.5
    assert len([text for text in client.warnings if "Connection refused" in text]) == 1
    assert client.warnings[-1].startswith("runs that are not in the MLflow mirror yet: 3.")
    assert sync(results).written == 3
    assert len(tables.runs()) == 3


def test_a_server_that_never_answers_costs_little(results: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        client = started(results, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert lost_s(client, results) < 5.5
    assert client.warnings[-1].startswith("runs that are not in the MLflow mirror yet: 3.")
    assert len(client.warnings) <= 2
    with pytest.raises(ProcessLookupError):
        os.kill(client._process.pid if client._process else 0, 0)


def test_a_locked_database_costs_little_and_is_filled_later(results: Path, tables: Tables) -> None:
    with closing(sqlite3.connect(results / "mlflow.db")) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        client = started(results)
        assert lost_s(client, results) < 5.5
        stranger.rollback()
    assert [text for text in client.warnings if "database is locked" in text]
    assert tables.runs() == []
    sync(results)
    assert len(tables.runs()) == 3


def test_sending_never_waits_for_a_mirror_that_hangs(results: Path) -> None:
    client = started(results)
    process_of(client).suspend()
    start = time.monotonic()
    for _ in range(2 * QUEUE):
        client.send({"event": "epoch", "key": "0" * 64, "padding": "x" * 100})
    client.send(end_event("done"))
    assert time.monotonic() - start < 2
    start = time.monotonic()
    summary = client.close(timeout_s=0.5)
    assert time.monotonic() - start < 2
    assert summary.missing == 1


def test_without_mlflow_there_is_one_line_and_no_process(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mlflow" else find(name)
    )
    client = started(results)
    client.send(begin_event())
    client.send(end_event("done"))
    summary = client.close()
    assert client._process is None
    assert summary.warnings[0] == (
        f"mlflow is not installed; mirror later with `resbench sync --results {results}`"
    )
    assert summary.missing == 1


def test_a_store_that_cannot_be_used_is_a_warning_not_an_error(results: Path) -> None:
    client = started(results, "file:///somewhere")
    client.send(begin_event())
    [warning] = client.close().warnings
    assert "file:///somewhere" in warning


def test_the_parent_needs_neither_mlflow_nor_torch() -> None:
    code = (
        "import sys, resbench.tracking.client, resbench.tracking.server, resbench.cli.ui\n"
        "print([name for name in ('mlflow', 'torch', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
