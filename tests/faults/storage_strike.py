"""One storage action in a process that waits, stopped, until it is traced by strace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Driver:
    """The warm process of :mod:`storage_driver`, and how to strike its children."""

    process: subprocess.Popen[str]
    struck: bool = False
    """Whether the last child came as far as the call that was to be struck."""

    def strike(self, folder: Path, inject: str) -> tuple[int, str]:
        """Let a child act on ``folder`` under ``strace -e inject=...``: exit status and words."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        child = int(self.line())
        syscall = inject.split(":", maxsplit=1)[0]
        log = folder.with_name("strace.log")
        command = ["strace", "-f", "-o", str(log), "-p", str(child)]
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
        self.struck = "(INJECTED)" in log.read_text()
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


def refuse(
    action: str,
    template: Path,
    check: Callable[[Path], list[str]],
    errors: Sequence[tuple[str, str, str]],
    step: int,
) -> None:
    """Let every ``step``-th system call of each kind in ``errors`` (call, error, reason) fail.

    The action names the reason and leaves no temporary file, and ``check`` finds nothing wrong.
    """
    with driver(action) as process:
        for call, error, reason in errors:
            k, named = 1, 0
            while True:
                place = f"{call} {k}"
                folder = template.with_name(f"struck {place.replace('/', '')}")
                shutil.copytree(template, folder)
                status, said = process.strike(folder, f"{call}:error={error}:when={k}")
                if status:
                    named += 1
                    assert status == 3, f"{place}: {said}"
                    assert said.startswith("fault ")
                    assert reason in said
                    assert str(folder) in said
                    assert list(folder.rglob(".tmp-*")) == [], place
                assert check(folder) == [], place
                shutil.rmtree(folder)
                if not process.struck:  # fewer than k calls: all have been refused
                    break
                k += step
            assert named, f"no {call} was refused"
