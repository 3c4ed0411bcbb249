"""One whole run and one killed run, made once for all tests that copy or compare them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..mini import started
from .running import ARL, kill_parent, prepare, ran, wait_for_epochs


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the ARL run was trained without a break."""
    folder = prepare(tmp_path_factory.mktemp("unbroken"))
    done = ran(folder, *ARL)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the command was killed when the ARL run had three epochs behind it."""
    folder = prepare(tmp_path_factory.mktemp("killed"))
    with started(folder, *ARL) as process:
        wait_for_epochs(folder, process, 3)
        kill_parent(process)
    return folder
