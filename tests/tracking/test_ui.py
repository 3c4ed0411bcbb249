"""`resbench ui` is MLflow's own server on the right store."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from resbench.cli import ui
from resbench.cli.ui import command as ui_command
from resbench.errors import EnvironmentFault, UsageError
from resbench.tracking.export import Exporter
from resbench.tracking.mirror import find_mirror

from ..factory import EPOCHS, SUITE, complete
from ..mini import resbench
from .tables import NAME, Tables, finished, stopped, worked

UI = [sys.executable, "-m", "resbench", "ui"]
# What the environment of somebody who runs an MLflow server may hold.
SERVER = {
    "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow.example.org",
    "MLFLOW_STATIC_PREFIX": "/mlflow",
    "UVICORN_ROOT_PATH": "/elsewhere",
    "MLFLOW_BACKEND_STORE_URI": "sqlite:////nowhere/at.db",
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Running:
    """A `resbench ui` that has said where it answers."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        assert process.stdout is not None
        self.process, self.url = process, url
        self.lines = [process.stdout.readline(), process.stdout.readline()]


@contextmanager
def serving(results: Path) -> Iterator[Running]:
    port = free_port()
    # As a shell without job control starts a background job: its SIGINT is ignored.
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *UI]
    command[command.index("-m") : command.index("-m")] = ["-P"]
    command += ["--results", str(results), "--port", str(port)]
    environment = {**os.environ, **SERVER}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=results.parent
    ) as process:
        try:
            yield Running(process, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(120)


def test_the_ui_answers_on_loopback_is_filled_like_a_file_and_ends_quietly(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also under the variables of another server."""
    finished(results, seed=7)
    Exporter(results).export()
    (tmp_path / "random.py").write_text("open('I_WAS_RUN', 'w')")
    with serving(results) as ui:
        answers(ui)
        # Nothing of the working directory is run, and nothing is left in it.
        assert {path.name for path in tmp_path.iterdir()} == {"results", "random.py"}
        is_filled(ui, Tables(results / "mlflow.db"), tmp_path / "other", monkeypatch)
        processes = psutil.Process(ui.process.pid).children(recursive=True)
        ui.process.send_signal(signal.SIGINT)
        assert ui.process.wait(120) == 0
        assert psutil.wait_procs(processes, timeout=120)[1] == []


def answers(ui: Running) -> None:
    view = "viewStateShareKey=resbench&workflowType=machine_learning"
    assert ui.lines == [
        f"{SUITE}  {ui.url}/#/experiments/1/runs?{view}\n",
        f"{ui.url}  Ctrl-C stops it.\n",
    ]
    with urllib.request.urlopen(ui.url, timeout=120) as answer:
        assert b"MLflow" in answer.read()
    listening = {
        connection.laddr.ip
        for process in psutil.Process(ui.process.pid).children(recursive=True)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def is_filled(ui: Running, served: Tables, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ui.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    monkeypatch.setenv("MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT", "120")
    run = stopped(results, epochs=1)
    exporter = Exporter(results)
    assert exporter.export().written == 1
    assert (SUITE, NAME, "KILLED") in served.runs()
    assert exporter.export().unchanged == 1
    worked(run, 2, EPOCHS)
    complete(run)
    assert exporter.export().written == 1
    assert Exporter(results).export().unchanged == 1
    assert (SUITE, NAME, "FINISHED") in served.runs()
    steps = [step for _, step, _ in served.points("key = 'loss/test_loss'")]
    assert steps == [1, 1, 2, 2, 3, 3]  # of two runs


def test_a_taken_port_is_named(results: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port}: Address already in use"):
            ui_command.main(["--results", str(results), "--port", str(port)], standalone_mode=False)


def test_a_port_that_is_answered_is_taken_although_it_could_be_bound(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, where AirPlay answers at port 5000 of every address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(socket.socket, "bind", lambda *_: None)
        with pytest.raises(UsageError, match=f"--port {port}: Address already in use"):
            ui_command.main(["--results", str(results), "--port", str(port)], standalone_mode=False)


def test_a_group_of_processes_that_have_all_ended_is_no_fault(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS refuses to signal it, where Linux finds no such group."""
    killpg = os.killpg

    def refused(group: int, number: int) -> None:
        if number == signal.SIGKILL:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        killpg(group, number)

    monkeypatch.setattr(ui, "PYTHON", ("sh", "-c", "exec sleep 600"))
    monkeypatch.setattr(ui, "_wait", lambda *_: None)
    monkeypatch.setattr(os, "killpg", refused)
    with ui._serving(find_mirror(results), free_port()) as server:
        pass
    assert server.returncode == -signal.SIGTERM


@pytest.mark.slow
def test_tables_of_another_mlflow_are_one_line_with_the_remedy(
    results: Path, tables: Tables
) -> None:
    tables.query("UPDATE alembic_version SET version_num = 'cc1f77228345'")
    done = resbench(results, "ui", "--results", str(results), "--port", str(free_port()))
    assert done.returncode == 3
    line = done.stderr.splitlines()[-1]
    assert line.startswith("the MLflow UI did not start: ")
    assert f"remove {results}/mlflow.db and {results}/mlartifacts first." in line


def test_without_a_store_the_ui_says_how_to_make_one(tmp_path: Path) -> None:
    remedy = f"Create it with `resbench sync --results {tmp_path}`"
    with pytest.raises(EnvironmentFault, match=remedy):
        ui_command.main(["--results", str(tmp_path)], standalone_mode=False)


def test_the_ui_of_a_server_is_that_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@mlflow.example:5000")
    assert ui_command.main([], standalone_mode=False) == 0
    assert capsys.readouterr().out == "http://mlflow.example:5000\n"
