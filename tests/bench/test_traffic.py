"""The traffic model counts every operand once."""

from __future__ import annotations

import pytest
import torch
from msgspec import structs

from resbench.bench.contest import ATTENTION_92, Bench
from resbench.bench.traffic import Traffic, traffic_of

CPU = torch.device("cpu")


def test_an_operator_reads_its_inputs_and_writes_its_output() -> None:
    a, b = torch.ones(1000), torch.ones(1000, dtype=torch.float64)
    with Traffic() as traffic:
        torch.add(a, b)
    assert traffic.bytes == 4000 + 8000 + 8000


def test_a_view_moves_nothing() -> None:
    a = torch.ones(10, 10)
    with Traffic() as traffic:
        a.view(100)[:50].unsqueeze(0).permute(1, 0)
    assert traffic.bytes == 0


def test_backward_is_counted() -> None:
    a = torch.ones(1000, requires_grad=True)
    with Traffic() as forward:
        loss = (a * a).sum()
    with Traffic() as backward:
        loss.backward()
    assert backward.bytes > forward.bytes / 2


def test_attention_92_in_bf16_moves_about_120_megabytes_an_image() -> None:
    spec = Bench(CPU).spec(ATTENTION_92, batch_size=2, steps=1)
    bf16 = structs.replace(spec, precision="bf16")
    assert traffic_of(bf16, CPU) / 2 == pytest.approx(120e6, rel=0.3)
