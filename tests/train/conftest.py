"""The settings of a worker, for tests that train in this process, and put back after each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from resbench.train.environment import set_up_device


@pytest.fixture(autouse=True)
def as_in_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RESBENCH_CACHE_DIR", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    set_up_device(torch.device("cpu"), 1)
    torch.manual_seed(0)
    yield
    torch.set_deterministic_debug_mode("default")
    torch.set_num_threads(threads)
