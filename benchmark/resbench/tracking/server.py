"""The MLflow UI for a local store: a child process that answers on loopback only."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from resbench.errors import EnvironmentFault, UsageError
from resbench.tracking.settings import Store, experiment_page, mlflow_variables

HOST = "127.0.0.1"
PORT = 5000
START_S = 120.0
STOP_S = 10.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy has nothing to do with our own machine."""


@dataclass(frozen=True)
class Ui:
    """A server that answers at ``url``."""

    url: str
    process: subprocess.Popen[bytes]

    def pages(self) -> dict[str, str]:
        """Return suite -> the page of its runs with their charts, newest first."""
        query = {
            "max_results": 1000,
            "filter": "tags.`resbench.suite` != ''",
            "order_by": ["last_update_time DESC"],
        }
        request = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/experiments/search",
            data=json.dumps(query).encode(),
            headers={"Content-Type": "application/json"},
        )
        with _DIRECT.open(request, timeout=30) as answer:
            found = json.load(answer).get("experiments", [])
        return {each["name"]: experiment_page(self.url, each["experiment_id"]) for each in found}


@contextmanager
def serving(store: Store, port: int | None = None) -> Iterator[Ui]:
    """Start the UI of a local store, wait until it answers, and end it with the block.

    Args:
        store: A SQLite store that exists.
        port: TCP port; by default 5000, or any free one where that is taken.

    Raises:
        UsageError: ``port`` is taken.
        EnvironmentFault: the server ends or does not answer within two minutes.
    """
    assert store.artifacts is not None, "the UI of a server is served by that server"
    chosen = _free_port(port)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store.uri]
    command += ["--host", HOST, "--port", str(chosen), "--workers", "1"]
    command += ["--artifacts-destination", store.artifacts]  # not the working directory
    # Without the executor of jobs, of which we have none, it starts in a third of the time.
    settings = {**mlflow_variables(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **settings},
            start_new_session=True,  # it is several processes, which end together
        )
        try:
            ui = Ui(f"http://{HOST}:{chosen}", process)
            _wait(ui, log)
            yield ui
        finally:
            _end(process)


def _free_port(port: int | None) -> int:
    for candidate in (PORT, 0) if port is None else (port,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UsageError(f"--port {port}: taken. Leave --port out, and a free one is found.")


def _wait(ui: Ui, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and ui.process.poll() is None:
        try:
            with _DIRECT.open(f"{ui.url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
    raise EnvironmentFault(f"the MLflow UI did not start: {lines[-1]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
