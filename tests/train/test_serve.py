"""The worker process itself: lines in, lines out, and nothing else on standard output."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from resbench.process import PYTHON
from resbench.protocol import AtStep, End, Epoch, Idle, Job, Ready, decode_event, encode
from resbench.runner.worker import COMMAND
from resbench.store.layout import RunFolder, open_for_writing
from resbench.store.state import Status

from ..mini import job_of, own_environment, spec_of


def serve(
    folder: Path, lines: bytes = b"", command: Sequence[str] = COMMAND, parent: int | None = None
) -> subprocess.CompletedProcess[bytes]:
    """In a folder with a module that must not stand in for one of ours."""
    (folder / "json.py").write_text("raise SystemExit('imported')")
    parent = os.getpid() if parent is None else parent
    variables = own_environment(folder, RESBENCH_PARENT=str(parent), OMP_NUM_THREADS="1")
    return subprocess.run(
        command, input=lines, cwd=folder, env=variables, capture_output=True, timeout=120
    )


@pytest.fixture
def job(tmp_path: Path) -> Job:
    open_for_writing(tmp_path / "results")
    return job_of(spec_of(training__schedule__total=1), tmp_path / "results")


def test_a_worker_serves_lines_until_its_input_ends(tmp_path: Path, job: Job) -> None:
    done = serve(tmp_path, 2 * encode([job]))
    events = [decode_event(line) for line in done.stdout.splitlines()]
    assert [event for event in events if not isinstance(event, AtStep | Epoch)] == [
        Ready(), End(job.key, Status.DONE), Idle(),
        End(job.key, Status.DONE, "already recorded"), Idle(),
    ]  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_a_network_prints_is_in_the_log_of_its_run(tmp_path: Path, job: Job) -> None:
    code = (
        "from resbench.train import jobs, serve\n"
        "jobs.train = lambda *_: print('a shape')\n"
        "serve.main()"
    )
    done = serve(tmp_path, encode([job]), [*PYTHON, "-c", code])
    events = [decode_event(line) for line in done.stdout.splitlines()]
    assert [type(event) for event in events] == [Ready, End, Idle]
    assert done.stderr == b""
    assert RunFolder(job.results, job.key).log.read_text() == "a shape\n"


def test_a_worker_notes_its_code_before_it_takes_a_job(tmp_path: Path) -> None:
    code = (
        "import sys; from resbench.train import environment, serve\n"
        "serve.main(); print(environment.code_version.cache_info().currsize, file=sys.stderr)"
    )
    assert serve(tmp_path, command=[*PYTHON, "-c", code]).stderr == b"1\n"


def test_a_worker_whose_parent_has_died_before_it_could_ask_ends(tmp_path: Path) -> None:
    done = serve(tmp_path, parent=1)
    assert (done.returncode, done.stdout) == (1, b"")
