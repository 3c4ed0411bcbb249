"""Fixtures of the network tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    """One thread, a seed, and numbers so precise that no processor's rounding decides.

    Equations are compared here between two ways of computing them. In float32 these differ by some
    1e-5, on another processor by something else; in float64 any difference above 1e-7 is a mistake.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)
