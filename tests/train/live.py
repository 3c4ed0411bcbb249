"""Lanes, and whole runs in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from resbench.data.digits import read_digits
from resbench.protocol import AtStep, Epoch, Event, Fault, Unfit, Warned
from resbench.store.layout import ResultsFolder, RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.suite.spec import RunSpec
from resbench.train.control import Control
from resbench.train.jobs import run_group
from resbench.train.lane import Lane
from resbench.train.prepare import Prepared, prepare_images

from ..mini import job_of

CPU = torch.device("cpu")


def prepared(spec: RunSpec) -> Prepared:
    return prepare_images(spec, read_digits())


def lane_of(spec: RunSpec, epoch: int | None = None) -> Lane:
    """A lane of a run on the digits, at the beginning of ``epoch``."""
    lane = Lane(spec, prepared(spec), CPU)
    if epoch is not None:
        lane.begin_epoch(epoch)
    return lane


def train_epoch(lane: Lane, epoch: int) -> list[float]:
    """Train one epoch; return the losses of its steps."""
    lane.begin_epoch(epoch)
    batch, losses = lane.spec.training.batch_size, []
    for position, step in enumerate(lane.steps.in_epoch(epoch)):
        lane.use_lr(step)
        chosen = slice(position * batch, (position + 1) * batch)
        losses.append(float(lane.train_step(lane.draws.index[chosen], lane.draws.params[chosen])))
    return losses


class Worker:
    """Attempts at runs as a worker makes them, and what it says meanwhile."""

    def __init__(self, results: Path) -> None:
        self.results = results
        ResultsFolder(results).open_for_writing()
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
