"""The runner's side of the mirror: it hands events over and never waits, nor hears of MLflow."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resbench.errors import ResbenchError
from resbench.tracking.settings import find_store, mlflow_variables
from resbench.words import invocation

QUEUE = 10_000
"""Events that wait at most; more are dropped and left to `resbench sync`."""


@dataclass(frozen=True)
class MirrorSummary:
    """What became of the runs that ended in this session."""

    mirrored: int
    missing: int
    """Runs that `resbench sync` has to fill in."""
    warnings: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    """Pages of a tracking server, one a suite."""


class MirrorClient:
    """A mirror process on the other end of a pipe. No method raises or blocks, but :meth:`close`.

    ``uri`` is the MLflow store, by default as :func:`resbench.tracking.settings.find_store` finds
    it.
    """

    def __init__(self, uri: str | None, results: Path) -> None:
        self.uri, self.results = uri, results
        self.warnings: list[str] = []
        """One line each, as they come."""
        self._sync = invocation("sync", results)
        self._addresses: list[str] = []
        self._queue: queue.Queue[dict[str, Any]] = queue.Queue(QUEUE)
        self._ended: set[str] = set()
        self._mirrored: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._threads: list[threading.Thread] = []
        self._gone = self._killed = False

    def start(self) -> None:
        """Start the process; where that cannot be, say so in one warning and take events still."""
        if importlib.util.find_spec("mlflow") is None:
            self.warnings.append(f"mlflow is not installed; mirror later with {self._sync}")
            return
        try:
            store = find_store(self.results, self.uri)
            self._sync = store.sync
            command = [sys.executable, "-m", "resbench.tracking.mirror", "--uri", store.uri]
            self._process = subprocess.Popen(
                [*command, "--results", str(store.results)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,  # Ctrl-C is for the parent, which still has ends to tell
                env={**os.environ, **mlflow_variables()},
            )
        except (ResbenchError, OSError) as error:
            self.warnings.append(f"not mirrored to MLflow: {error}")
            return
        for target in (self._write, self._read):
            thread = threading.Thread(target=target, args=[self._process], daemon=True)
            thread.start()
            self._threads.append(thread)

    def send(self, event: dict[str, Any]) -> None:
        """Hand an event over, or drop it when the mirror is far behind or gone."""
        if event["event"] == "end" and event["outcome"] != "locked":
            self._ended.add(event["key"])
        if self._process is not None and not self._gone:
            with suppress(queue.Full):
                self._queue.put_nowait(event)

    def close(self, timeout_s: float = 5.0) -> MirrorSummary:
        """Let the mirror finish for at most ``timeout_s``, then end it."""
        if self._process is not None:
            self._end(self._process, time.monotonic() + timeout_s)
        self._log.close()
        missing = len(self._ended - self._mirrored)
        if missing:
            self.warnings.append(
                f"runs that are not in the MLflow mirror yet: {missing}. Run {self._sync}."
            )
        mirrored = len(self._ended & self._mirrored)
        return MirrorSummary(mirrored, missing, tuple(self.warnings), tuple(self._addresses))

    def _end(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        try:
            self._queue.put({"event": "quit"}, timeout=max(0.0, deadline - time.monotonic()))
            process.wait(max(0.0, deadline - time.monotonic()))
        except (queue.Full, subprocess.TimeoutExpired):
            self._killed = True
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join(1.0)

    def _write(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        with suppress(OSError), process.stdin:
            while (event := self._queue.get())["event"] != "quit":
                process.stdin.write(json.dumps(event).encode() + b"\n")
                process.stdin.flush()
            process.stdin.write(b'{"event": "quit"}\n')
        self._gone = True

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._hear(json.loads(line))
        code = process.wait()
        if code and not self._killed:
            self._gone = True
            self.warnings.append(
                f"the MLflow mirror ended with exit code {code}{self._last_line()}"
            )

    def _hear(self, answer: dict[str, Any]) -> None:
        if answer["event"] == "mirrored":
            self._mirrored.add(answer["key"])
        elif answer["event"] == "warning":
            self.warnings.append(answer["text"])
        elif answer["event"] == "address":
            self._addresses.append(answer["url"])

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""
