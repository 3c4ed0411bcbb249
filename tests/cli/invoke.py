"""Runs the command line as the console script does, in this process or in one of its own."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from resbench.cli import main as entry

from ..mini import python


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """What it said, with one blank between words wherever lines were broken."""
        return " ".join(self.out.split())


def invoke(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    """Run ``resbench ARGUMENTS`` in this process, through the real entry point."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONSAFEPATH", "1")  # which the command sets, and which is put back here
        patch.setattr(sys, "argv", ["resbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            entry.main()
    for number, handler in before.items():
        signal.signal(number, handler)
    out, err = capsys.readouterr()
    return Outcome(int(stopped.value.code or 0), out, err)


@dataclass(frozen=True)
class Shell:
    """The command line; adds ``results``, if not None, to commands without a results folder."""

    capsys: pytest.CaptureFixture[str]
    results: Path | None

    def __call__(self, command: str, *arguments: object) -> Outcome:
        """Run ``resbench COMMAND ARGUMENTS``; only the command is split at its blanks."""
        words = [*command.split(), *arguments]
        without = words[0] in ("data", "models", "new", "validate") or "--results" in words
        if self.results is not None and not without:
            words += ["--results", self.results]
        return invoke(self.capsys, *words)

    def json(self, command: str, *arguments: object) -> Any:
        """What a command that ends well says as JSON."""
        found = self(command, *arguments, "--format", "json")
        assert found.code == 0, found.err
        return json.loads(found.out)


def imported_by(*arguments: object, cwd: Path) -> set[str]:
    """Run a command in a new process; return the names of the packages that it imported."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('\\n' + ' '.join(m for m in sys.modules if '.' not in m)))\n"
        "from resbench.cli.main import main\n"
        "main()\n"
    )
    return set(python(cwd, code, *map(str, arguments)).splitlines()[-1].split())
