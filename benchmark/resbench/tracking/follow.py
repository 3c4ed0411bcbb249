"""The process that exports a results folder while `resbench run` works in it.

It watches the folder, so that it needs no message from the runner. The end of its input, also by
the runner's death, makes it export once more and end. Each line of its output is a warning.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from resbench.errors import ResbenchError
from resbench.process import PYTHON, STOP_SIGNALS
from resbench.tracking.export import Exporter
from resbench.tracking.mirror import find_mirror
from resbench.words import invocation, one_line

EVERY_S = 3.0
RETRY_S = 10.0
"""Pause after a failure."""
WAIT_S = 20.0
"""For another resbench that writes, or makes the database."""
LAST_EXPORT_S = 60
"""How long the process outlives its input."""
DYING_S = 2.0
"""How long workers may take to die with their parent."""


class Follower:
    """That process as the runner sees it. No method raises; only :meth:`close` waits."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.process: subprocess.Popen[str] | None = None
        self._warning = ""
        if importlib.util.find_spec("mlflow") is None:
            self._warning = "mlflow is not installed."
            return
        try:
            find_mirror(results)
            self.process = subprocess.Popen(
                [*PYTHON, "-m", "resbench.tracking.follow", str(results)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the runner, whose workers have to end first
                text=True,
            )
        except (ResbenchError, OSError) as error:
            self._warning = one_line(error)

    def close(self, patience_s: float) -> str | None:
        """Let it finish for at most ``patience_s``; return one warning where all is not there."""
        if self.process is not None:
            try:
                output, _ = self.process.communicate(timeout=patience_s)
                code = self.process.returncode
                ended = f"The export ended with exit code {code}." if code else ""
                self._warning = next(reversed(output.splitlines()), ended)
            except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
                self.process.kill()
                self.process.communicate()
                interrupted = isinstance(error, KeyboardInterrupt)
                self._warning = (
                    "Ctrl-C ended the export."
                    if interrupted
                    else f"The export took longer than {patience_s:g} s."
                )
        if not self._warning:
            return None
        sync = invocation("sync", self.results)
        return f"not all runs are in MLflow; {sync} completes that. {self._warning}"


def main() -> None:
    """Export what has changed, again and again, until the input ends."""
    results, parent = Path(sys.argv[1]), os.getppid()
    for number in STOP_SIGNALS:  # for the runner, which then ends the input
        signal.signal(number, signal.SIG_IGN)
    os.nice(5)  # training goes first, but not alone: what it writes is to be seen
    exporter, pause_s, ended = Exporter(results, WAIT_S), 0.0, threading.Event()
    threading.Thread(target=_await_end, args=(ended,), daemon=True).start()
    while not ended.wait(pause_s):
        started = time.monotonic()
        try:
            exporter.export()
            pause_s = EVERY_S + time.monotonic() - started  # never more than half of a core
        except ResbenchError:
            pause_s = RETRY_S  # the last attempt reports it
    if os.getppid() != parent:  # it was killed, and its workers are about to end
        time.sleep(DYING_S)
    try:
        problems: tuple[object, ...] = exporter.export().problems
    except ResbenchError as error:
        problems = (error,)
    for problem in problems:
        print(one_line(problem), flush=True)


def _await_end(ended: threading.Event) -> None:
    """Note the end of the input, also while an export is under way."""
    os.read(0, 1)
    signal.alarm(LAST_EXPORT_S)  # whatever hangs below MLflow must not outlive the runner
    ended.set()


if __name__ == "__main__":
    main()
