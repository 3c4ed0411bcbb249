"""How long a run takes: at its measured speed, or at the speed expected of its network's size."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from resbench.datasets import DATA_SETS
from resbench.errors import UsageError
from resbench.models import ZOO, zoo_entry
from resbench.runner.devices import Device
from resbench.store.records import RunRecord
from resbench.suite.schedule import resolve
from resbench.suite.spec import RunSpec, plain_to

CPU_MACS_PER_S = 34e9
"""Of one thread, in convolutions as wide as the published ones."""
CPU_LAYER_S = 28e-6
"""Seconds that a layer of the trunk adds for an image of 16 px. Both were fitted to Attention-56 on
server processors: a quarter, a half and all of the channels, 16 and 32 px."""
GPU_MACS_PER_S = 2e13
GPU_LAYER_S = {"eager": 2.5e-4, "graph": 6e-5, "graph+compile": 6e-5}
"""Seconds that a layer of the trunk adds to a step; assumed, never measured."""
PLAUSIBLE = 1e-3, 1e7
"""Images per second; a record that says less or more is no measure."""
UNKNOWN_SIZE = 200e6, 100
"""MACs and depth assumed for a network that is not listed."""


@dataclass(frozen=True)
class Speed:
    """How fast one kind of run trains, and how long its evaluations take."""

    images_per_s: float
    eval_share: float
    """Evaluation time for each second of training."""


class _OwnSpec(RunSpec):
    """The specification of a run whose network only its user's file declares."""

    model: dict[str, Any]  # type: ignore[assignment]


@dataclass
class Throughput:
    """Speeds by kind of run; a newer one replaces an older one."""

    measured: dict[str, Speed] = field(default_factory=dict)
    """With the evaluation time of one image tested for each one trained on."""
    corrections: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """(device, engine) -> measured over expected speeds, which correct further expectations."""

    @staticmethod
    def of(records: Iterable[RunRecord]) -> Throughput:
        """Collect the speeds of records, the newest last."""
        known = Throughput()
        for record in sorted(records, key=lambda record: record.timing.started):
            timing = record.timing
            # A run that shared a GPU is no measure of one that has it alone.
            plausible = PLAUSIBLE[0] < timing.images_per_s < PLAUSIBLE[1]
            plausible &= timing.train_s > 0.01 and timing.eval_s < 1e9
            if plausible and timing.packed == 1:
                device = Device(record.environment.device, record.environment.device_name)
                speed = Speed(timing.images_per_s, timing.eval_s / timing.train_s)
                with suppress(UsageError):  # a specification that fits no data
                    if spec := _spec_of(record):
                        known.learn(spec, device, speed, record.result.step)
        return known

    def learn(self, spec: RunSpec, device: Device, speed: Speed, steps: int) -> None:
        """Note the speed of ``steps``; less than an epoch of them are mostly the run's start."""
        if steps < resolve(spec).per_epoch:
            return
        self.measured[kind_of(spec, device)] = replace(
            speed, eval_share=speed.eval_share / _tests(spec)
        )
        if _size(spec):
            ratio = speed.images_per_s / expected(spec, device).images_per_s
            self.corrections.setdefault((device.kind, spec.engine), []).append(ratio)

    def is_measured(self, spec: RunSpec, device: Device) -> bool:
        """Return whether the speed of a kind of run has been measured on a device."""
        return kind_of(spec, device) in self.measured

    def measured_epoch_s(self, spec: RunSpec, device: Device) -> float | None:
        """Return the seconds of a run's epoch where its speed has been measured; a guess is None.

        A run that is stopped for a wrong guess would never start.
        """
        return self.epoch_seconds(spec, device) if self.is_measured(spec, device) else None

    def speed(self, spec: RunSpec, device: Device) -> Speed:
        """Return the measured speed, or else the expected one."""
        if known := self.measured.get(kind_of(spec, device)):
            return replace(known, eval_share=known.eval_share * _tests(spec))
        guess = expected(spec, device)
        ratios = self.corrections.get((device.kind, spec.engine), [1.0])
        return Speed(guess.images_per_s * statistics.median(ratios), guess.eval_share)

    def seconds(self, spec: RunSpec, device: Device, done_epochs: int = 0) -> float:
        """Return the seconds that are left of a run after ``done_epochs``."""
        speed, steps = self.speed(spec, device), resolve(spec)
        left = max(0, steps.total - done_epochs * steps.per_epoch)
        return left * spec.training.batch_size / speed.images_per_s * (1 + speed.eval_share)

    def epoch_seconds(self, spec: RunSpec, device: Device) -> float:
        """Return the seconds of one epoch with its evaluation."""
        epochs = resolve(spec).epochs
        return self.seconds(spec, device) / epochs


def kind_of(spec: RunSpec, device: Device) -> str:
    """Return what a speed depends on: device, engine, precision, network, image size and batch."""
    model = msgspec.json.encode(spec.model).decode()
    where = f"{device.kind} {spec.engine} {spec.precision}"
    return f"{where} {model} {_px(spec)} {spec.training.batch_size}"


def expected(spec: RunSpec, device: Device) -> Speed:
    """Return the speed expected of the network's MACs and depth, right to a factor of two.

    Training counts as three times the forward pass.
    """
    (macs, depth), px = _size(spec) or UNKNOWN_SIZE, _px(spec)
    macs *= 3 * (px / 32) ** 2
    if device.is_gpu:
        layers_s = depth * GPU_LAYER_S[spec.engine] / spec.training.batch_size
        image_s = macs / GPU_MACS_PER_S + layers_s
    else:
        image_s = macs / CPU_MACS_PER_S + depth * CPU_LAYER_S * (px / 16) ** 2
    return Speed(1 / image_s, _tests(spec) / 3)


def _tests(spec: RunSpec) -> float:
    """Return how many images an epoch tests for each one that it trains on."""
    return (spec.data.test_size + spec.training.val_in_train) / spec.data.train_size


def _spec_of(record: RunRecord) -> RunSpec | None:
    """Return a record's specification; None where another version of resbench wrote it."""
    for kind in (RunSpec, _OwnSpec):
        with suppress(ValueError):
            return plain_to(kind, record.spec)
    return None


def _px(spec: RunSpec) -> int:
    return spec.data.image_px or DATA_SETS[spec.data.name].px


def _size(spec: RunSpec) -> tuple[float, int] | None:
    """Return MACs of a 32 px image and depth, if need be of a near variant; None if not listed."""
    if isinstance(spec, _OwnSpec):
        return None
    model = spec.model
    near = (row for row in ZOO if (row.family, row.name) == (model.family, model.name))
    entry = zoo_entry(model) or next(near, None)
    return (entry.macs_m * 1e6 * model.width**2, entry.trunk_depth) if entry else None
