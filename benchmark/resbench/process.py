"""How a process of resbench gets on with its surroundings: streams, imported modules, children.

What is not ours to rely on is settled here once, for every command and every worker.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from resbench.errors import EnvironmentFault

PYTHON = (sys.executable, "-P")
"""Starts a child. Without ``-P``, ``-m`` would look for modules in the user's working directory."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Each asks for a clean stop; schedulers announce the end of a job's time by the last two."""


def settle() -> None:
    """Prepare this process and the children that it will start; call it first."""
    os.environ["PYTHONSAFEPATH"] = "1"  # ``-P`` for the children of libraries too
    _settle_streams()


def _settle_streams() -> None:
    """Let no stream that goes away end the work: a log on a full disk, a closed terminal.

    Standard error is for people and is lost without a word. Standard output is a result: where it
    cannot be written, that is reported once.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The next file to be opened would take the number, and be printed into. Opened for
            # reading, the null device refuses what is written, as a closed stream does.
            os.open(os.devnull, os.O_RDONLY)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(2, sys.stderr, "backslashreplace", needed=False)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _stream(1, sys.stdout, "replace", needed=True)


def _stream(
    descriptor: int, old: io.TextIOWrapper | Any, errors: str, *, needed: bool
) -> io.TextIOWrapper:
    raw = _Stream(descriptor, needed=needed)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=old.encoding if old is not None else None,
        errors=errors,  # a character that the terminal lacks is replaced
        line_buffering=not needed or raw.isatty(),
    )


class _Stream(io.FileIO):
    """A standard stream that fails at most once, or never."""

    def __init__(self, descriptor: int, *, needed: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.needed = needed

    def write(self, data: Any, /) -> int:
        """Write what can be written; say that all of it was."""
        try:
            written = super().write(data)
        except BrokenPipeError:  # the reader has had enough, as `head` has
            if self.needed:
                self.needed = False
                raise
        except OSError as error:
            if self.needed:
                self.needed = False
                raise EnvironmentFault(
                    f"standard output: {error.strerror}. The output is incomplete: send it to "
                    "another place."
                ) from error
        else:
            if written is not None:
                return written
        return len(data)


def need_temporary_files(folder: Path) -> None:
    """Let this process and its children keep them in ``folder`` where the system has no place."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)


def output_of(*command: str, timeout_s: float) -> str | None:
    """Return what a command prints; None where it is missing, fails or takes too long."""
    import subprocess

    # Git sets variables for its hooks that would lead a child to another repository.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=timeout_s, check=True
        ).stdout
    return None
