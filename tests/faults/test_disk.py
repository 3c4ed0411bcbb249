"""Promises 6, 7: a disk that takes no more is named, and costs nothing that it holds."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from resbench.store.layout import ResultsFolder

from ..mini import outputs, run_folders
from .running import ARL, epochs_in, nobody_at_work, prepare, ran, run_in, temporaries

NOBODY = 65534
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
    assert nobody_at_work(folder)
    assert temporaries(folder) == []
    assert not run.checkpoint.exists()


def test_a_run_that_the_disk_refuses_fails_whole_and_resumes_when_there_is_room(
    unbroken: Path, tmp_path: Path
) -> None:
    limited = ("bash", "-c", f'ulimit -f {LIMIT_KIB}; exec "$@"', "-")
    check_full(prepare(tmp_path), "File too large", *limited, *ARL)
    done = ran(tmp_path, *ARL)
    assert done.returncode == 0, done.stderr
    assert outputs(tmp_path / "results") == outputs(unbroken / "results")


@pytest.mark.slow
def test_a_full_disk_fails_the_run_and_names_itself(small_disk: Path) -> None:
    check_full(prepare(small_disk), "No space left on device", *ARL)


UNPRIVILEGED = """
import contextlib, importlib, os, pkgutil, sys
import resbench.cli, resbench.runner
from resbench.cli.main import main
for package in (resbench.cli, resbench.runner):
    for module in pkgutil.iter_modules(package.__path__, f"{{package.__name__}}."):
        importlib.import_module(module.name)
run = sys.argv[1:]
sys.argv[1:] = ["plan", "mini.yaml"]
with contextlib.suppress(SystemExit):  # imports what it needs: the interpreter may be root's alone
    main()
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})
sys.argv[1:] = run
main()
"""


@pytest.fixture
def anyones_folder() -> Iterator[Path]:
    """A folder that every user can enter; those of pytest are private."""
    closed = [parent for parent in Path(__file__).parents if parent.stat().st_mode & 0o5 != 0o5]
    if os.geteuid() == 0 and closed:
        pytest.skip(f"{closed[-1]} is closed to user 'nobody', as whom this test runs")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    (folder / "results").chmod(0o755)
    shutil.rmtree(folder)


def test_read_only_results_are_reported_before_training_with_path_and_user(
    anyones_folder: Path,
) -> None:
    folder = prepare(anyones_folder)
    results = folder / "results"
    ResultsFolder(results).open_for_writing()
    results.chmod(0o555)
    code = UNPRIVILEGED.format(nobody=NOBODY)
    done = ran(folder, sys.executable, "-c", code, *ARL[1:])
    assert done.returncode == 3, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"{results}: Permission denied. Change its permissions or choose another" in line
    if os.geteuid() == 0:
        assert "results folder, user 'nobody'" in line
    assert run_folders(results) == []
