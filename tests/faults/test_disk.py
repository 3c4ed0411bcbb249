"""Promises 6, 7: a disk that takes no more is named, and costs nothing that it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..mini import ran
from .running import ARL, assert_ends_as, assert_left_in_order, epochs_in, prepare, run_in

LIMIT_KIB = 128
"""More than all files of a run except its checkpoints."""


def check_full(folder: Path, reason: str, *command: str) -> None:
    """A run in ``folder`` fails for ``reason`` at its first checkpoint, and loses nothing."""
    full = ran(folder, *command)
    assert full.returncode == 3, full.stderr
    run = run_in(folder)
    fault = f"{run.checkpoint}: {reason}. "
    assert fault in full.stderr.splitlines()[-1]
    assert "0 done, 1 failed" in full.stderr
    assert "Traceback" not in full.stderr
    assert epochs_in(run) == [1]
    assert_left_in_order(folder)
    assert not run.checkpoint.exists()


def test_a_run_that_the_disk_refuses_fails_whole_and_resumes_when_there_is_room(
    unbroken: Path, tmp_path: Path
) -> None:
    limited = ("bash", "-c", f'ulimit -f {LIMIT_KIB}; exec "$@"', "-")
    check_full(prepare(tmp_path), "File too large", *limited, *ARL)
    assert_ends_as(unbroken, tmp_path)


@pytest.mark.slow
def test_a_full_disk_fails_the_run_and_names_itself(small_disk: Path) -> None:
    check_full(prepare(small_disk), "No space left on device", *ARL)
