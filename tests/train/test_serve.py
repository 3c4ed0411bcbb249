"""The worker process itself: lines in, lines out, and nothing else on standard output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from resbench.protocol import AtStep, End, Epoch, Idle, Ready, decode_event, encode
from resbench.store.layout import ResultsFolder
from resbench.store.state import Status
from resbench.train.environment import code_version

from ..mini import job_of, own_environment, spec_of

SPEC = spec_of(training__schedule__total=1)


def test_a_worker_serves_lines_until_its_input_ends(tmp_path: Path) -> None:
    """In a folder with a module that must not stand in for one of ours."""
    results = tmp_path / "results"
    ResultsFolder(results).open_for_writing()
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    job = job_of(SPEC, results)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "resbench.train.serve"],
        input=2 * encode([job]),
        cwd=tmp_path,
        env=own_environment(tmp_path, RESBENCH_PARENT=str(os.getpid()), OMP_NUM_THREADS="1"),
        capture_output=True,
        timeout=120,
        check=True,
    )
    events = [decode_event(line) for line in done.stdout.splitlines()]
    assert [event for event in events if not isinstance(event, AtStep | Epoch)] == [
        Ready(), End(job.key, Status.DONE), Idle(),
        End(job.key, Status.DONE, "already recorded"), Idle(),
    ]  # fmt: skip
    assert done.stderr == b""


def test_a_worker_whose_parent_has_died_before_it_could_ask_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "resbench.train.serve"],
        env={**os.environ, "RESBENCH_PARENT": "1"},
        input="",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, "")


def test_the_code_of_a_checkout_is_named_by_commit_and_digest() -> None:
    code = code_version()
    assert len(code.source_sha256) == 64
    assert (code.commit is None) == (code.dirty is None)
