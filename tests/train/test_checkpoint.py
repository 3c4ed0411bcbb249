"""The state between epochs: all of it, bit for bit, and nothing that is not it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from resbench.train.checkpoint import dump, read_meta, restore
from resbench.train.optim import Optimizer

from ..mini import REPORT, spec_of
from .live import evaluated, lane_of, state_of, train_epoch


@pytest.mark.parametrize("kind", [{}, REPORT])
def test_a_restored_lane_continues_bit_for_bit(kind: dict[str, Any]) -> None:
    unbroken, broken = lane_of(spec_of(**kind)), lane_of(spec_of(**kind))
    train_epoch(unbroken, 1)
    payload = dump(unbroken.model, unbroken.optimizer, {"epoch": 1})
    restore(payload, broken.model, broken.optimizer)
    assert read_meta(payload) == {"epoch": 1}
    assert train_epoch(unbroken, 2) == train_epoch(broken, 2)
    assert state_of(unbroken) == state_of(broken)
    assert evaluated(unbroken).loss == evaluated(broken).loss, "by the same running statistics"


def test_a_layer_that_is_used_twice_is_stored_once() -> None:
    def made() -> tuple[nn.Module, Optimizer]:
        shared, lane = nn.Linear(4, 4), spec_of()
        model = nn.Sequential(shared, nn.BatchNorm1d(4), shared)
        optimizer = Optimizer(model, lane.training.optim)
        model(torch.randn(5, 4)).sum().backward()
        optimizer.step()
        return model, optimizer

    (first, of_first), (second, of_second) = made(), made()
    payload = dump(first, of_first, {})
    assert dump(second, of_second, {}) != payload
    restore(payload, second, of_second)
    assert dump(second, of_second, {}) == payload
    assert sorted(name for name in load(payload) if name.endswith("weight")) == [
        "model.0.weight",
        "model.1.weight",
    ]


def test_the_state_is_more_than_the_weights() -> None:
    """The control of the test above: without momentum the next epoch is another one."""
    unbroken, broken = lane_of(spec_of()), lane_of(spec_of())
    train_epoch(unbroken, 1)
    broken.model.load_state_dict(unbroken.model.state_dict())
    assert train_epoch(unbroken, 2) != train_epoch(broken, 2)


@pytest.mark.parametrize(
    "other",
    [
        {"model__width": 0.25},
        {"model__mask": "local"},
        {"training__optim": REPORT["training__optim"]},
    ],
)
def test_a_state_of_another_run_is_refused_and_changes_nothing(other: dict[str, Any]) -> None:
    lane, stranger = lane_of(spec_of()), lane_of(spec_of(seed=2, **other))
    before = state_of(lane)
    with pytest.raises(ValueError, match="the checkpoint does not fit the network"):
        restore(state_of(stranger), lane.model, lane.optimizer)
    assert state_of(lane) == before


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff" * 100,
        pickle.dumps({"epoch": 1}),
        save({"x": torch.zeros(1)}),
        save({"x": torch.zeros(1)}, {"meta": "{"}),
        (10**6).to_bytes(8, "little") + b"[" * 10**6,
        (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_what_was_never_a_state_is_refused(payload: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, RecursionError, SafetensorError)):
        read_meta(payload)


def test_counters_hold_no_nan() -> None:
    lane = lane_of(spec_of())
    with pytest.raises(ValueError, match="JSON compliant"):
        dump(lane.model, lane.optimizer, {"best": float("nan")})
