"""One whole run and one killed run, made once for all tests that copy or compare them; a disk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..mini import started
from .running import ARL, failing, kill_parent, prepare, ran_well, spec, wait_for_epochs


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the ARL run was trained without a break."""
    folder = prepare(tmp_path_factory.mktemp("unbroken"))
    ran_well(folder, *ARL)
    return folder


@pytest.fixture(scope="session")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the command was killed when the ARL run had two epochs behind it."""
    folder = prepare(tmp_path_factory.mktemp("killed"))
    with started(folder, *failing({spec().key: "dawdle"}, ARL)) as process:
        wait_for_epochs(folder, process, 1)
        kill_parent(process)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB: less than a checkpoint, more than all other files of a run."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here (not root, or no permission)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
