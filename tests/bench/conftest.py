"""Fixtures for the benchmark's tests."""

import pytest
import torch

from resbench.bench.contest import Bench


@pytest.fixture
def cpu() -> Bench:
    return Bench(torch.device("cpu"))
