"""Devices by name."""

from __future__ import annotations

import pytest
import torch

from resbench.errors import EnvironmentFault, UsageError
from resbench.train.determinism import find_device


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "meta", "mps", ""])
def test_a_name_of_no_device_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"^device {name}: unknown. Use cpu, cuda or cuda:N.$"):
        find_device(name)


def test_a_missing_gpu_is_told_without_an_option_that_not_every_verb_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        EnvironmentFault, match=r"device cuda:0: .* Use the CPU, or install"
    ) as told:
        find_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(EnvironmentFault, match="only 1 CUDA device") as few:
        find_device("cuda:3")
    assert "--" not in f"{told.value}{few.value}"
