"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .committed import copy_of

if TYPE_CHECKING:
    from .cli.invoke import Shell

with suppress(ImportError):  # on a GPU machine where nothing can be installed
    from hypothesis import settings

    # `make test` says the same of one commit, every time.
    # No deadline: how long an example takes says nothing on a machine with other work.
    settings.register_profile("repeatable", derandomize=True, deadline=None)
    settings.register_profile("random", print_blob=True, deadline=None)
    settings.load_profile("repeatable")


@pytest.fixture(scope="module", autouse=True)
def quick_searches_for_garbage() -> None:
    """What a process has imported is never garbage, and each look at it took half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def a_hang_up_reaches_what_tests_start() -> None:
    """Under nohup commands would inherit that it is ignored; a handler is not inherited."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)


@pytest.fixture(autouse=True)
def nothing_of_the_user(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No data, no cache, no MLflow store and no GPU, but for what a test asks for."""
    monkeypatch.setenv("RESBENCH_DATA_DIR", str(tmp_path / "user-data"))
    monkeypatch.setenv("RESBENCH_CACHE_DIR", str(tmp_path / "user-cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command line, with the results in the test's own folder."""
    from .cli.invoke import Shell  # most tests start without it

    return Shell(capsys, tmp_path)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tool of that name that lists two GPUs."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    rows = "'GPU 0: NVIDIA H100 (UUID: GPU-8a1f-0)' 'GPU 1: NVIDIA A100 (UUID: GPU-9b2e-1)'"
    tool.write_text(f"#!/bin/sh\nprintf '%s\\n' {rows}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tool


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the committed results, without the runs that a checkout may have of its own."""
    return copy_of("results", tmp_path_factory.mktemp("shipped"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real CIFAR-10 images beside the checkout; skips where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("RESBENCH_SHARED_DATA") or beside)
    for name in ("cifar10-head", "cifar10"):
        if not (folder / name).is_dir():
            pytest.skip(
                f"no real images: {folder / name} is absent (RESBENCH_SHARED_DATA names it)"
            )
    return folder
