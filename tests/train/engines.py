"""Lanes under their engine, for the tests of the engines on a CPU and on a GPU."""

from __future__ import annotations

import torch

from resbench.data.digits import read_digits
from resbench.suite.spec import RunSpec
from resbench.train.engine import Engine, make_engine
from resbench.train.images import prepare
from resbench.train.lane import Lane
from resbench.train.state import dump

Trained = tuple[bytes, list[tuple[float, float]]]


def lane_on(device: torch.device, spec: RunSpec) -> Lane:
    """A lane of a run on the digits."""
    return Lane(spec, prepare(spec, read_digits()), device)


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
            total.append(lane.epoch_totals(steps))
    states = [dump(lane.model, lane.optimizer, {}) for lane in lanes]
    return list(zip(states, totals, strict=True))
