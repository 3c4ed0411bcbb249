"""What shows the progress decides nothing: a log or a screen may go away at any moment."""

from __future__ import annotations

import fcntl
import os
import subprocess
import termios
from pathlib import Path

import pytest

from ..mini import PATIENCE_S, outputs, own_environment, ran
from .running import ARL, prepare, wait_for_epochs


@pytest.mark.parametrize(
    "where",
    [
        "2>&1 | true",
        *(pytest.param(where, marks=pytest.mark.slow) for where in ("2>/dev/full", "2>&-")),
    ],
)
def test_a_run_that_cannot_show_its_progress_is_trained(
    unbroken: Path, tmp_path: Path, where: str
) -> None:
    if where.endswith("/dev/full") and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    prepare(tmp_path)
    done = ran(tmp_path, "bash", "-c", f'set -o pipefail; "$@" {where}', "sh", *ARL)
    assert done.returncode == 0
    assert outputs(tmp_path / "results") == outputs(unbroken / "results")


def test_a_terminal_that_is_closed_ends_no_training(unbroken: Path, tmp_path: Path) -> None:
    prepare(tmp_path)
    screen, end = os.openpty()
    process = subprocess.Popen(
        ARL, cwd=tmp_path, env=own_environment(tmp_path, TERM="xterm"),
        stdin=end, stdout=end, stderr=end, text=True, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # its terminal, not just a file
    )  # fmt: skip
    os.close(end)
    try:
        wait_for_epochs(tmp_path, process, 1)
        assert b"mini arl seed 1" in os.read(screen, 1 << 16)
        os.close(screen)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert outputs(tmp_path / "results") == outputs(unbroken / "results")
