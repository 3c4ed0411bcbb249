"""One storage action in a process that waits, stopped, until it is traced by strace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Driver:
    """The warm process of :mod:`storage_driver`, and how to strike its children."""

    process: subprocess.Popen[str]

    def strike(self, folder: Path, inject: str) -> tuple[int, str]:
        """Let a child act on ``folder`` under ``strace -e inject=...``: exit status and words."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        child = int(self.line())
        syscall = inject.split(":", maxsplit=1)[0]
        command = ["strace", "-o", os.devnull, "-p", str(child)]
        command += ["-e", f"trace={syscall}", "-e", f"inject={inject}"]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        first = tracer.stderr.readline()
        os.kill(child, signal.SIGCONT)
        said: list[str] = []
        while not (last := self.line()).startswith("end "):
            assert self.process.poll() is None, "the driver died"
            said.append(last)
        tracer.communicate()
        if "attached" not in first:
            pytest.skip(f"strace cannot attach here: {first.strip()}")
        return int(last.removeprefix("end ")), "\n".join(said)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().removesuffix("\n")


@contextmanager
def driver(action: str) -> Iterator[Driver]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.storage_driver", action],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield Driver(process)
    finally:
        process.communicate()
