"""``resbench ui``: MLflow's own server on the store of a results folder."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from resbench.cli.options import results_option
from resbench.errors import EnvironmentFault, ExitCode, UsageError
from resbench.process import PYTHON, need_temporary_files
from resbench.words import one_line

if TYPE_CHECKING:
    from resbench.tracking.mirror import Mirror

HOST, PORT = "127.0.0.1", 5001
"""MLflow's own port, 5000, is that of AirPlay on a Mac."""
STOP_S = 10.0
_SERVER_VARIABLES = ("MLFLOW_", "_MLFLOW_", "UVICORN_", "GUNICORN_", "FLASK_", "WEB_CONCURRENCY")


@click.command("ui")
@results_option
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True)
def command(results: Path, port: int) -> int:
    """Serve the MLflow UI of the results, on this machine only, until Ctrl-C.

    Prints the page of each suite, or the address of the server that MLFLOW_TRACKING_URI names.
    """
    from resbench.tracking.mirror import VIEW, find_mirror

    mirror = find_mirror(results)
    if mirror.database is None:
        click.echo(mirror.shown)
        return ExitCode.OK
    if not mirror.database.is_file():
        raise EnvironmentFault(
            f"{mirror.database}: does not exist yet. Create it with {mirror.fill_command}."
        )
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would ignore it
    try:
        with _serving(mirror, port) as server:
            experiments = mirror.experiments()
            width = max(map(len, experiments), default=0)
            url, view = f"http://{HOST}:{port}", f"viewStateShareKey={VIEW}"
            for suite, number in experiments.items():
                page = f"{url}/#/experiments/{number}/runs?{view}&workflowType=machine_learning"
                click.echo(f"{suite:{width}}  {page}")
            click.echo(f"{url}  Ctrl-C stops it.")
            server.wait()
    except KeyboardInterrupt:
        return ExitCode.OK
    raise EnvironmentFault("the MLflow UI has stopped by itself. Start it again.")


@contextmanager
def _serving(mirror: Mirror, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start the server, wait until it answers, and stop it at the end of the block."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if _answers(port):  # macOS would bind it all the same, next to AirPlay
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            probe.bind((HOST, port))
        except OSError as error:
            raise UsageError(f"--port {port}: {error.strerror}. Choose another port.") from error
    click.echo("Starting the MLflow UI, which takes some seconds.", err=True)
    command = [*PYTHON, "-m", "mlflow", "ui", "--backend-store-uri", mirror.uri]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    assert mirror.artifacts is not None, "the UI of a server is served by that server"
    command += ["--artifacts-destination", mirror.artifacts.as_uri()]
    # The user's variables for a server of their own are not for this one.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_SERVER_VARIABLES)}
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # it starts in a third of the time
    }
    need_temporary_files(mirror.results)
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as empty:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=empty,  # the web server imports modules from its working directory
            env={**kept, **settings},
            start_new_session=True,  # several processes, which stop together
        )
        try:
            _wait(server, port, log, mirror)
            yield server
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                # macOS refuses where all processes of the group have ended: PermissionError
                with suppress(OSError, subprocess.TimeoutExpired):
                    os.killpg(server.pid, number)
                    server.wait(STOP_S)


def _wait(server: subprocess.Popen[bytes], port: int, log: IO[bytes], mirror: Mirror) -> None:
    """Wait until the server listens, which it does once it can answer."""
    while server.poll() is None:
        if _answers(port):
            return
        time.sleep(0.1)
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines() or ["it wrote no log"]
    why = one_line(next((line for line in reversed(lines) if "Error" in line), lines[-1]))
    raise EnvironmentFault(f"the MLflow UI did not start: {why.rstrip('.')}. {mirror.remedy}")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
