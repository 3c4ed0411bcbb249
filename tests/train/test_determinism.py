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


def test_a_missing_gpu_is_reported_without_an_option_that_not_every_verb_has(
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


BUILT_FOR = ["sm_75", "sm_80", "sm_90a", "compute_90"]


@pytest.mark.parametrize(
    ("capability", "fault"),
    [
        ((7, 0), "Tesla has compute capability 7.0, and this torch"),
        ((7, 5), None),
        ((8, 6), None),
        ((8, 9), None),
        ((12, 0), None),
    ],
)
def test_a_gpu_that_this_torch_has_no_code_for_is_named_before_training(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], fault: str | None
) -> None:
    a_gpu(monkeypatch, capability)
    if fault is None:
        assert find_device("cuda:0") == torch.device("cuda", 0)
    else:
        with pytest.raises(EnvironmentFault, match=fault) as told:
            find_device("cuda:0")
        assert "is built for sm_75, sm_80, sm_90a, compute_90." in str(told.value)


def test_bf16_is_refused_where_it_would_be_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    a_gpu(monkeypatch, (7, 5))
    with pytest.raises(EnvironmentFault, match=r"bf16 needs 8\.0 .* Use --precision fp32\."):
        find_device("cuda", "bf16")
    a_gpu(monkeypatch, (8, 0))
    assert find_device("cuda", "bf16") == torch.device("cuda", 0)


def a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    """One GPU, and a torch that has code for some."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: BUILT_FOR)
