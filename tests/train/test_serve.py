"""The worker process itself: lines in, lines out, and nothing else on standard output."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from resbench.process import PYTHON
from resbench.protocol import AtStep, End, Epoch, Idle, Ready, decode_event, encode
from resbench.runner.worker import COMMAND
from resbench.store.layout import RunFolder, open_for_writing
from resbench.store.state import Status

from ..mini import job_of, own_environment, spec_of


def serve(folder: Path, parent: int, lines: bytes) -> subprocess.CompletedProcess[bytes]:
    """In a folder with a module that must not stand in for one of ours."""
    (folder / "json.py").write_text("raise SystemExit('imported')")
    variables = own_environment(folder, RESBENCH_PARENT=str(parent), OMP_NUM_THREADS="1")
    return subprocess.run(
        COMMAND, input=lines, cwd=folder, env=variables, capture_output=True, timeout=120
    )


def test_a_worker_serves_lines_until_its_input_ends(tmp_path: Path) -> None:
    results = tmp_path / "results"
    open_for_writing(results)
    job = job_of(spec_of(training__schedule__total=1), results)
    done = serve(tmp_path, os.getpid(), 2 * encode([job]))
    events = [decode_event(line) for line in done.stdout.splitlines()]
    assert [event for event in events if not isinstance(event, AtStep | Epoch)] == [
        Ready(), End(job.key, Status.DONE), Idle(),
        End(job.key, Status.DONE, "already recorded"), Idle(),
    ]  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_a_network_prints_is_in_the_log_of_its_run(tmp_path: Path) -> None:
    results = tmp_path / "results"
    open_for_writing(results)
    job = job_of(spec_of(training__schedule__total=1), results)
    code = (
        "from resbench.train import jobs, serve\n"
        "jobs.train = lambda *_: print('a shape')\n"
        "serve.main()"
    )
    command, variables = [*PYTHON, "-c", code], own_environment(tmp_path)
    lines = encode([job])
    done = subprocess.run(command, env=variables, input=lines, capture_output=True, timeout=120)
    events = [decode_event(line) for line in done.stdout.splitlines()]
    assert [type(event) for event in events] == [Ready, End, Idle]
    assert done.stderr == b""
    assert RunFolder(results, job.key).log.read_text() == "a shape\n"


def test_a_worker_notes_its_code_before_it_takes_a_job(tmp_path: Path) -> None:
    code = (
        "import sys; from resbench.train import environment, serve\n"
        "serve.main(); print(environment.code_version.cache_info().currsize, file=sys.stderr)"
    )
    command = [*PYTHON, "-c", code]
    variables = own_environment(tmp_path)
    done = subprocess.run(command, env=variables, input=b"", capture_output=True, timeout=120)
    assert done.stderr == b"1\n"


def test_a_worker_whose_parent_has_died_before_it_could_ask_ends(tmp_path: Path) -> None:
    done = serve(tmp_path, 1, b"")
    assert (done.returncode, done.stdout) == (1, b"")
