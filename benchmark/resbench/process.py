"""What a process of resbench cannot rely on: standard streams, module paths, temporary folders.

Settled here once for every command and every worker.
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
    """Keep working when a stream fails: a log on a full disk, a closed terminal.

    Standard error is for people and is lost silently. Standard output is a result: a failure to
    write it is reported once.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The next file opened would get this number, and output would go into it. Opened for
            # reading, the null device refuses writes, as a closed stream does.
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
        """Write what can be written; report all of it as written."""
        try:
            written = super().write(data)
        except BrokenPipeError:  # the reader stopped reading, as `head` does
            if self.needed:
                self.needed = False
                raise
        except OSError as error:
            if self.needed:
                self.needed = False
                raise EnvironmentFault(
                    f"standard output: {error.strerror}. The output is incomplete: send it "
                    "elsewhere."
                ) from error
        else:
            if written is not None:
                return written
        return len(data)


def need_temporary_files(folder: Path) -> None:
    """Use ``folder`` for temporary files, here and in children, if the system has none for them."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)


def unwind_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into an exception, so that files and children are cleaned up.

    One that is ignored stays so: ``nohup`` keeps a command when its terminal is closed.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda received, _: sys.exit(128 + received))


def output_of(*command: str, timeout_s: float) -> str | None:
    """Return what a command prints; None if it is missing, fails or takes too long."""
    import subprocess

    # Git sets variables for its hooks, which would lead a child to another repository.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            command,
            env=variables,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # a path may hold any byte
            timeout=timeout_s,
            check=True,
        ).stdout
    return None
