"""Lanes under their engine, for the tests of the engines on a CPU and on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from resbench.data.digits import read_digits
from resbench.suite.spec import RunSpec
from resbench.train.checkpoint import dump
from resbench.train.engine import Engine, make_engine
from resbench.train.lane import Lane
from resbench.train.prepare import prepare_images

from ..mini import spec_of

Trained = tuple[bytes, list[tuple[float, float]]]


def gpu_spec(**changes: Any) -> RunSpec:
    """What the tests on a GPU train: wide enough for its kernels, and a partial test batch."""
    return spec_of(**{
        "model__width": 0.5, "data__image_px": 16, "data__train_images": 640,
        "data__test_images": 210, "training__batch_size": 32, **changes,
    })  # fmt: skip


def lane_on(device: torch.device, spec: RunSpec) -> Lane:
    """A lane of a run on the digits."""
    return Lane(spec, prepare_images(spec, read_digits()), device)


def trained(device: torch.device, *specs: RunSpec, epochs: int = 1) -> list[Trained]:
    """Train lanes together; return each one's state and its loss and error per epoch."""
    lanes = [lane_on(device, spec) for spec in specs]
    totals: list[list[tuple[float, float]]] = [[] for _ in lanes]
    engine: Engine | None = None
    for epoch in range(1, epochs + 1):
        for lane in lanes:
            lane.begin_epoch(epoch)
        if engine is None:
            engine = make_engine(lanes)
            for lane in lanes:
                lane.begin_epoch(epoch)  # a captured warm-up has used the epoch's random state
        steps = lanes[0].steps.in_epoch(epoch)
        engine.run_epoch(steps, lambda _step: None)
        for lane, total in zip(lanes, totals, strict=True):
            total.append(lane.epoch_totals(steps)[:2])
    states = [dump(lane.model, lane.optimizer, {}) for lane in lanes]
    return list(zip(states, totals, strict=True))


def first_gradients(device: torch.device, spec: RunSpec) -> dict[str, Tensor]:
    """The gradients of a run's first step; of a graph's, as its replay leaves them."""
    lane = lane_on(device, spec)
    lane.begin_epoch(1)
    engine = make_engine([lane])
    lane.begin_epoch(1)
    engine.run_epoch(range(1), lambda _step: None)
    grads = {name: p.grad for name, p in lane.model.named_parameters()}
    return {name: grad.clone() for name, grad in grads.items() if grad is not None}


def assert_live_weights(lane: Lane) -> None:
    """Check that evaluation through a graph captured before an epoch sees what the epoch did."""
    test = lane.images.test_images, lane.images.test_labels
    lane.begin_epoch(1)
    engine = make_engine([lane])
    lane.begin_epoch(1)
    before = lane.evaluate(*test)
    engine.run_epoch(lane.steps.in_epoch(1), lambda _step: None)
    captured = lane.evaluate(*test)
    lane.eval_forward = lane.eval_logits
    plain = lane.evaluate(*test)
    assert captured.loss == plain.loss != before.loss
    assert np.array_equal(captured.pred, plain.pred)
