"""The process that exports during a run never harms it, and what it missed is made good."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from resbench.tracking.export import Exporter
from resbench.tracking.follow import Follower

from ..factory import EPOCHS, SUITE, complete
from ..faults.running import ARL, failing, prepare, spec
from ..mini import PATIENCE_S, python, resbench, started, suite_of, wait_until, write_suite
from .tables import NAME, Tables, finished, stopped, training, worked

Patch = pytest.MonkeyPatch


def test_curves_grow_while_a_run_works_and_end_honestly(results: Path, tables: Tables) -> None:
    run = stopped(results, epochs=1)
    with training(run):
        follower = Follower(results)
        wait_until(lambda: tables.runs() == [(SUITE, NAME, "RUNNING")], "the run")
        assert follower.process is not None
        follower.process.terminate()  # a job's end signals all its processes; this one has to stay
        worked(run, 2, EPOCHS)
        wait_until(lambda: len(tables.points("key = 'loss/test_loss'")) == 3, "its epochs")
        assert tables.runs() == [(SUITE, NAME, "RUNNING")]
        complete(run)
    assert follower.close(120) is None
    assert tables.runs() == [(SUITE, NAME, "FINISHED")]
    assert Exporter(results).export().unchanged == 1


def test_a_command_shows_what_it_trains_before_it_ends(
    results: Path, tables: Tables, tmp_path: Path
) -> None:
    command = failing({spec().key: "dawdle"}, ARL)
    with started(prepare(tmp_path), *(word for word in command if word != "--no-mirror")) as run:
        wait_until(lambda: tables.runs() == [("mini", "s1 arl", "RUNNING")], "the run")
        wait_until(lambda: len(tables.points("key = 'loss/test_loss'")) == 2, "its epochs")
        run.terminate()
        run.communicate(timeout=PATIENCE_S)


@pytest.mark.slow
def test_a_command_whose_store_fails_ends_well_with_one_warning(tmp_path: Path) -> None:
    write_suite(tmp_path, suite_of(total=1))
    with refused_port(tmp_path) as uri:
        store = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}
        done = resbench(tmp_path, "run", "mini.yaml", "--cell", "arl", "-j1", **store)
    assert done.returncode == 0, done.stderr
    (warning,) = (line for line in done.stderr.splitlines() if line.startswith("warning: "))
    assert warning.startswith("warning: not all runs are in MLflow; `resbench sync` completes that")
    assert "1 done" in done.stderr


@pytest.mark.slow
def test_a_runner_that_is_killed_leaves_no_running_run(results: Path, tables: Tables) -> None:
    run = stopped(results, epochs=1)
    code = (
        "import sys, time; from pathlib import Path\n"
        "from resbench.tracking.follow import Follower\n"
        "follower = Follower(Path(sys.argv[1]))\n"
        "print(follower.process.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(results)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        process = psutil.Process(int(parent.stdout.readline()))
        with training(run):
            wait_until(lambda: tables.runs() == [(SUITE, NAME, "RUNNING")], "the run")
            worked(run, 2, 2)
        parent.kill()
    psutil.wait_procs([process], timeout=120)
    assert not process.is_running()
    assert tables.runs() == [(SUITE, NAME, "KILLED")]
    assert len(tables.points("key = 'loss/test_loss'")) == 2


@pytest.mark.slow
def test_a_follower_that_is_killed_is_made_good_by_sync(results: Path, tables: Tables) -> None:
    run = stopped(results, epochs=1)
    follower = Follower(results)
    with training(run):
        wait_until(lambda: tables.runs() == [(SUITE, NAME, "RUNNING")], "the run")
        assert follower.process is not None
        follower.process.kill()
        worked(run, 2, EPOCHS)
        complete(run)
    warning = str(follower.close(30))
    assert f"`resbench sync --results {results}` completes that" in warning
    assert "exit code -9" in warning
    assert tables.runs() == [(SUITE, NAME, "RUNNING")]
    Exporter(results).export()
    assert tables.runs() == [(SUITE, NAME, "FINISHED")]
    steps = [step for _, step, _ in tables.points("key = 'loss/test_loss'")]
    assert steps == [1, 2, 3]


def test_a_person_who_does_not_wait_gets_the_warning_and_no_follower_stays(
    results: Path, monkeypatch: Patch
) -> None:
    finished(results)
    with silent_server(results) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        follower = Follower(results)
        assert follower.process is not None
        communicate = follower.process.communicate

        def interrupted(timeout: float | None = None) -> tuple[str, str]:
            if timeout is not None:
                raise KeyboardInterrupt
            return communicate()

        monkeypatch.setattr(follower.process, "communicate", interrupted)
        warning = str(follower.close(120))
    assert warning.endswith("completes that. Ctrl-C ended the export.")
    assert follower.process.returncode == -signal.SIGKILL


@contextmanager
def refused_port(_: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://me:secret@127.0.0.1:{port}"


@contextmanager
def silent_server(_: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def locked_database(results: Path) -> Iterator[str]:
    with closing(sqlite3.connect(results / "mlflow.db")) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        yield f"sqlite:///{results / 'mlflow.db'}"
        stranger.rollback()


@contextmanager
def unsupported(_: Path) -> Iterator[str]:
    yield "file:///somewhere"


@pytest.mark.parametrize(
    ("store", "reason"),
    [
        (refused_port, "Connection refused"),
        (silent_server, "timed out"),
        (locked_database, "database is locked"),
        (unsupported, "file:///somewhere"),
    ],
)
def test_a_store_that_fails_is_one_warning_and_is_filled_later(
    results: Path, tables: Tables, monkeypatch: Patch, store: object, reason: str
) -> None:
    finished(results)
    with store(results) as uri:  # type: ignore[operator]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        warning = str(Follower(results).close(120))
    assert reason in warning
    assert "secret" not in warning
    assert "\n" not in warning
    assert tables.runs() == []
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert Exporter(results).export().written == 1
    assert tables.runs() == [(SUITE, NAME, "FINISHED")]


def test_a_run_that_cannot_be_exported_is_named_in_the_warning(results: Path) -> None:
    forged = finished(results)
    forged.record.write_text(forged.record.read_text().replace('"done"', '"diverged"'))
    warning = str(Follower(results).close(120))
    assert warning.startswith("not all runs are in MLflow")
    assert str(forged.record) in warning


def test_a_follower_that_hangs_is_given_up(results: Path) -> None:
    finished(results)
    follower = Follower(results)
    assert follower.process is not None
    os.kill(follower.process.pid, signal.SIGSTOP)
    warning = str(follower.close(0.5))
    assert "longer than 0.5 s" in warning
    assert follower.process.returncode == -signal.SIGKILL


def test_an_export_that_hangs_when_the_input_ends_does_not_outlive_it_for_long(
    results: Path, monkeypatch: Patch
) -> None:
    finished(results)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(100 * PATIENCE_S))
    code = "from resbench.tracking import follow; follow.LAST_EXPORT_S = 1; follow.main()"
    command = [sys.executable, "-c", code, str(results)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            server.settimeout(PATIENCE_S)
            with server.accept()[0]:
                try:
                    process.communicate(timeout=PATIENCE_S)
                finally:
                    process.kill()
    assert process.returncode == -signal.SIGALRM


def test_without_mlflow_there_is_one_line_and_no_process(results: Path, monkeypatch: Patch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mlflow" else find(name)
    )
    follower = Follower(results)
    assert follower.process is None
    assert str(follower.close(1)).endswith("mlflow is not installed.")


def test_the_runner_needs_neither_mlflow_nor_torch(tmp_path: Path) -> None:
    code = (
        "import sys, resbench.tracking.follow, resbench.cli.ui, resbench.cli.sync\n"
        "print({'mlflow', 'torch', 'pandas'} & {*sys.modules})"
    )
    assert python(tmp_path, code) == "set()\n"
