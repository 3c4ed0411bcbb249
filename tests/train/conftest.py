"""The settings of a worker, for tests that train in this process, and put back after each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from resbench.train.environment import set_up_device


@pytest.fixture(autouse=True)
def as_in_a_worker() -> Iterator[None]:
    threads = torch.get_num_threads()
    set_up_device(torch.device("cpu"), 1)
    torch.manual_seed(0)
    yield
    torch.set_deterministic_debug_mode("default")
    torch.set_num_threads(threads)
