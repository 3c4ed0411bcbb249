"""`resbench ui`, and the same server as a tracking server that goes away."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from resbench.cli.ui import command as ui_command
from resbench.errors import EnvironmentFault, UsageError
from resbench.tracking.server import serving
from resbench.tracking.settings import find_store
from resbench.tracking.sync import sync

from . import factory
from .conftest import without_uri
from .factory import NAME, SUITE, Tables
from .session import begin_event, end_event, eventually, started


@dataclass(frozen=True)
class Running:
    """A `resbench ui` that has said where it answers."""

    process: subprocess.Popen[str]
    results: Path
    url: str
    page: str

    def tree(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Running]:
    results = tmp_path_factory.mktemp("ui") / "results"
    factory.finished(results, seed=7)
    shutil.copy(empty_database, results / "mlflow.db")
    sync(results, f"sqlite:///{results / 'mlflow.db'}")
    # As a shell without job control starts a background job: its SIGINT is ignored.
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    command += [sys.executable, "-m", "resbench.cli.main", "ui", "--results", str(results)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=without_uri(), cwd=results.parent
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        try:
            name, page = lines[0].split()
            assert name == SUITE
            yield Running(process, results, lines[1].split()[0], page)
        finally:
            process.terminate()
            process.wait(120)


def test_the_ui_answers_on_loopback_only(ui: Running) -> None:
    listening = {
        connection.laddr.ip
        for process in ui.tree()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    assert [path.name for path in ui.results.parent.iterdir()] == ["results"]  # its directory
    with urllib.request.urlopen(ui.url, timeout=120) as answer:
        assert b"MLflow" in answer.read()
    assert re.fullmatch(
        rf"{ui.url}/#/experiments/1/runs\?compareRunsMode=CHART&workflowType=machine_learning",
        ui.page,
    )


def test_a_server_that_goes_away_mid_run_loses_nothing(ui: Running, results: Path) -> None:
    client = started(results, ui.url)
    served = Tables(ui.results / "mlflow.db")
    client.send(begin_event())
    run = factory.begin(results, epochs=1)
    client.send({"event": "epoch", "key": run.key})
    eventually(lambda: served.points("key = 'metrics/test_loss' AND status = 'RUNNING'"))
    processes = ui.tree()
    ui.process.send_signal(signal.SIGINT)
    assert ui.process.wait(120) == 0
    assert psutil.wait_procs(processes, timeout=5)[1] == []
    factory.train(run, 1, 2, factory.EPOCHS)
    factory.finish(run)
    client.send(end_event("done"))
    start = time.monotonic()
    summary = client.close()
    assert time.monotonic() - start < 5.5
    assert (summary.mirrored, summary.missing) == (0, 1)
    assert summary.addresses == (ui.page,) or summary.addresses[0].startswith(ui.url)
    sync(results, f"sqlite:///{ui.results / 'mlflow.db'}")
    assert (SUITE, NAME, "FINISHED") in served.runs()
    steps = [step for _, step, _ in served.points("key = 'metrics/test_loss'")]
    assert steps == [1, 1, 2, 2, 3, 3]  # of two runs


def test_a_taken_port_is_named_and_another_is_found(results: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UsageError, match=f"--port {port}: taken"),
            serving(find_store(results), port),
        ):
            pytest.fail("it was served")


def test_without_a_mirror_the_ui_says_how_to_make_one(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/other.db"
    paste = f"resbench sync --tracking-uri {uri} --results {tmp_path}`"
    with pytest.raises(EnvironmentFault, match=f"Make it with `{paste}"):
        ui_command.main(["--results", str(tmp_path), "--tracking-uri", uri], standalone_mode=False)


def test_the_ui_of_a_server_is_that_server(capsys: pytest.CaptureFixture[str]) -> None:
    uri = "http://me:secret@mlflow.example:5000"
    assert ui_command.main(["--tracking-uri", uri], standalone_mode=False) == 0
    assert capsys.readouterr().out == "http://mlflow.example:5000\n"
