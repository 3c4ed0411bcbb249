"""Which runs come next: rounds of seeds and, under a budget, what is worth most a second."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import msgspec
from msgspec.structs import replace

from resbench.runner.devices import Device
from resbench.runner.plan import PlannedRun, worth
from resbench.runner.throughput import Throughput, kind_of
from resbench.store.layout import RunFolder
from resbench.store.state import read_state

CALIBRATION_SHARE = 0.1
"""After this share of a budget nothing more is measured: what is known by then is trained."""


class Queue:
    """The runs of a plan that no worker holds, in the order in which they are handed out.

    ``deadline`` is the monotonic time at which everything must have been put down, None for no
    limit; ``pack`` is how many seeds of one network a GPU may train at once.
    """

    def __init__(
        self,
        runs: Iterable[PlannedRun],
        results: Path,
        throughput: Throughput,
        *,
        deadline: float | None,
        pack: int,
    ) -> None:
        self.results, self.throughput = results, throughput
        self.deadline, self.pack = deadline, pack
        self._runs = {run.key: run for run in runs}
        self._measured: set[str] = set()
        self._measure_until = 0.0
        if deadline is not None:
            now = time.monotonic()
            self._measure_until = now + CALIBRATION_SHARE * (deadline - now)

    @property
    def runs(self) -> list[PlannedRun]:
        """What is left."""
        return list(self._runs.values())

    def put_back(self, runs: Iterable[PlannedRun]) -> None:
        """Take runs in again that could not be worked on."""
        self._runs |= {run.key: run for run in runs}

    def take(self, device: Device) -> list[PlannedRun]:
        """Return and remove the next run, or several that ``device`` can train at once."""
        first = self._first(device)
        if first is None:
            return []
        group = [first]
        if self.pack > 1 and device.is_gpu and packable(first):
            kind = pack_kind(first)
            group += [run for run in self.runs if run is not first and pack_kind(run) == kind]
        group = group[: self.pack]
        for run in group:
            del self._runs[run.key]
        return group

    def take_unmeasured(self, device: Device) -> PlannedRun | None:
        """Return a run, left in the queue, whose speed a budget needs to know; each kind once."""
        if time.monotonic() >= self._measure_until:
            return None
        for run in self._runs.values():
            kind = kind_of(run.spec, device.kind)
            if kind not in self._measured and kind not in self.throughput.rates:
                self._measured.add(kind)
                return run
        return None

    def shortest_epoch_s(self, device: Device, runs: Iterable[PlannedRun]) -> float | None:
        """Return the least time, where it is known, in which one of ``runs`` makes progress."""
        known = (self.throughput.epoch_seconds(run.spec, device.kind) for run in runs)
        return min((seconds for seconds in known if seconds is not None), default=None)

    def _first(self, device: Device) -> PlannedRun | None:
        if self.deadline is None:
            return next(iter(self._runs.values()), None)
        left_s = self.deadline - time.monotonic()
        in_rounds = sorted(self._runs.values(), key=lambda run: run.seed_rank)
        for _, of_one_seed in groupby(in_rounds, key=lambda run: run.seed_rank):
            fitting = [run for run in of_one_seed if self._fits(run, device, left_s)]
            if fitting:
                return max(fitting, key=lambda run: self._worth(run, device))
        return None

    def _fits(self, run: PlannedRun, device: Device, left_s: float) -> bool:
        """Say whether an epoch of the run can end in time, as far as is known."""
        return left_s > (self.throughput.epoch_seconds(run.spec, device.kind) or 0)

    def _worth(self, run: PlannedRun, device: Device) -> float:
        state = read_state(RunFolder(self.results, run.key))
        done = state.epoch if state is not None else 0
        remaining_s = self.throughput.seconds(run.spec, device.kind, done)
        return 0.0 if remaining_s is None else worth(run, remaining_s)


def pack_kind(run: PlannedRun) -> tuple[str, ...]:
    """Return what runs must share to be trained in one step: all but seed and label noise."""
    data = replace(run.spec.data, clean_ratio=1.0, noise="fixed")
    spec = replace(run.spec, seed=0, data=data)
    return (msgspec.json.encode(spec).decode(), run.source.id)


def packable(run: PlannedRun) -> bool:
    """Say whether packing leaves a run's bits alone: dropout would share its generator."""
    return run.spec.engine != "eager" and not getattr(run.spec.model, "dropout", 0.0)
