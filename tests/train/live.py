"""Lanes, lanes under their engine on any device, and whole runs in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from torch import Tensor

from resbench.data.digits import read_digits
from resbench.protocol import AtStep, Epoch, Event, Fault, Unfit, Warned
from resbench.store.layout import RunFolder, open_for_writing
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.suite.spec import RunSpec
from resbench.train.checkpoint import dump, restore
from resbench.train.control import Control
from resbench.train.engine import make_engine
from resbench.train.jobs import run_group
from resbench.train.lane import Evaluation, Lane
from resbench.train.prepare import Prepared, prepare_images

from ..mini import job_of, spec_of

CPU = torch.device("cpu")
Trained = tuple[bytes, list[tuple[float, float]]]


def prepared(spec: RunSpec) -> Prepared:
    return prepare_images(spec, read_digits())


def lane_of(spec: RunSpec, epoch: int | None = None, device: torch.device = CPU) -> Lane:
    """A lane of a run on the digits, at the beginning of ``epoch``."""
    lane = Lane(spec, prepared(spec), device)
    if epoch is not None:
        lane.begin_epoch(epoch)
    return lane


def train_epoch(lane: Lane, epoch: int) -> list[float]:
    """Train one epoch; return the losses of its steps."""
    lane.begin_epoch(epoch)
    losses = []
    for position, step in enumerate(lane.epoch_steps):
        lane.use_lr(step)
        losses.append(float(lane.train_step(*lane.batch(position))))
    return losses


def evaluated(lane: Lane) -> Evaluation:
    return lane.evaluate(lane.images.test_images, lane.images.test_labels)


def state_of(lane: Lane) -> bytes:
    """Weights, running statistics and the optimizer's state."""
    return dump(lane.model, lane.optimizer, {})


# -- under an engine -----------------------------------------------------------------------------


def gpu_spec(**changes: Any) -> RunSpec:
    """What the tests on a GPU train: wide enough for its kernels, and a partial test batch."""
    return spec_of(**{
        "model__width": 0.5, "data__image_px": 16, "data__train_images": 640,
        "data__test_images": 210, "training__batch_size": 32, **changes,
    })  # fmt: skip


def trained(device: torch.device, *specs: RunSpec, epochs: int = 1) -> list[Trained]:
    """Train lanes together; return each one's state and its loss and error per epoch."""
    lanes = [lane_of(spec, device=device) for spec in specs]
    totals: list[list[tuple[float, float]]] = [[] for _ in lanes]
    engine = make_engine(lanes)
    for epoch in range(1, epochs + 1):
        engine.run_epoch(epoch, lambda _step: None)
        for lane, total in zip(lanes, totals, strict=True):
            total.append(lane.epoch_totals()[:2])
    return [(state_of(lane), total) for lane, total in zip(lanes, totals, strict=True)]


def first_gradients(device: torch.device, spec: RunSpec) -> dict[str, Tensor]:
    """The gradients of a run's first step; of a graph's, as its replay leaves them."""
    schedule = structs.replace(spec.training.schedule, unit="step", total=1, drops=())
    training = structs.replace(spec.training, schedule=schedule)
    lane = lane_of(structs.replace(spec, training=training), device=device)
    engine = make_engine([lane])
    engine.run_epoch(1, lambda _step: None)
    lane.epoch_totals()  # waits for the replay, which the engine's end would not
    grads = {name: p.grad for name, p in lane.model.named_parameters()}
    return {name: grad.clone() for name, grad in grads.items() if grad is not None}


def assert_live_weights(lane: Lane) -> None:
    """Check that a captured evaluation is the plain one, also after an epoch has passed."""
    first = evaluated(lane)
    engine = make_engine([lane])
    assert evaluated(lane).loss == first.loss
    engine.run_epoch(1, lambda _step: None)
    captured = evaluated(lane)
    lane.eval_forward = lane.eval_logits
    plain = evaluated(lane)
    assert captured.loss == plain.loss != first.loss
    assert np.array_equal(captured.pred, plain.pred)


LEAPS = {"data__train_images": 32, "training__optim__lr": 1.0}
"""Changes to what a GPU trains: one step an epoch, after which the weights are others."""


def assert_same_computation(lane: Lane, plain: Lane) -> None:
    """Check that the kernels of two lanes, which leap, compute the same but for rounding.

    From the same weights, for a difference of one rounding grows from step to step. They are not
    the first ones, for kernels may keep those that they were made with, or have no gradients of
    others.
    """
    engines = [make_engine([one]) for one in (lane, plain)]
    for epoch in (1, 2):
        engines[0].run_epoch(epoch, lambda _step: None)
        mine = evaluated(lane).loss
    restore(dump(lane.model, lane.optimizer, {}), plain.model, plain.optimizer)
    assert mine == pytest.approx(evaluated(plain).loss, rel=0.05)
    losses, learn = [], []
    for one, engine in zip((lane, plain), engines, strict=True):
        engine.run_epoch(3, lambda _step: None)
        losses.append(one.epoch_totals().train_loss)
        grads = {name: p.grad for name, p in one.model.named_parameters()}
        learn.append({name for name, grad in grads.items() if grad is not None and grad.any()})
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert learn[0] == learn[1]


# -- whole runs ----------------------------------------------------------------------------------


class Worker:
    """Attempts at runs as a worker makes them, and what it says meanwhile."""

    def __init__(self, results: Path) -> None:
        self.results = results
        open_for_writing(results)
        self.events: list[Event] = []
        self.on_event: Callable[[Event], None] | None = None
        self.control = Control(self._emit, heartbeat_s=0.0)

    def _emit(self, event: Event) -> None:
        self.events.append(event)
        if self.on_event is not None:
            self.on_event(event)

    def stop_after(self, epoch: int) -> Worker:
        """Behave as if a signal came while the epoch after ``epoch`` is under way."""

        def watch(event: Event) -> None:
            if isinstance(event, AtStep) and self.epochs()[-1:] == [epoch]:
                self.control.stop = True

        self.on_event = watch
        return self

    def run(self, *specs: RunSpec, **job: Any) -> list[tuple[str, str, str]]:
        """Key, status and text of each end."""
        jobs = [job_of(spec, self.results, **job) for spec in specs]
        return [(end.key, end.status, end.text) for end in run_group(jobs, self.control)]

    def said(self, kind: type[Warned | Fault | Unfit]) -> list[str]:
        """Texts of the events of one kind."""
        return [event.text for event in self.events if isinstance(event, kind)]

    def epochs(self) -> list[int]:
        """The epochs that were trained, in order."""
        return [event.metrics.epoch for event in self.events if isinstance(event, Epoch)]

    def folder(self, spec: RunSpec) -> RunFolder:
        return RunFolder(self.results, spec.key)

    def metrics(self, spec: RunSpec) -> list[EpochMetrics]:
        return read_epochs(self.folder(spec).metrics, EpochMetrics)


def finished(results: Path, spec: RunSpec) -> Worker:
    """A run from beginning to end without a break."""
    worker = Worker(results)
    ends = worker.run(spec)
    assert [status for _, status, _ in ends] == ["done"], ends
    return worker
