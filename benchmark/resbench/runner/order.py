"""Which runs come next: those of the plan in its order, seeds in rounds over the cells."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from resbench.runner.devices import Device
from resbench.runner.plan import PlannedRun
from resbench.runner.throughput import Throughput


class Queue:
    """The runs of a plan that no worker holds, handed out in the plan's order.

    ``deadline`` is the monotonic time at which everything must have stopped, None for no limit: a
    run is handed out only if one of its epochs can end before then. ``pack`` is how many seeds of
    one network a GPU may train at once.
    """

    def __init__(
        self,
        runs: Iterable[PlannedRun],
        throughput: Throughput,
        *,
        deadline: float | None,
        pack: int,
    ) -> None:
        self.throughput, self.deadline, self.pack = throughput, deadline, pack
        self._order = {run.key: run for run in runs}
        self._left = set(self._order)
        self._at_most: dict[tuple[str, ...], int] = {}
        """What runs of a pack share -> how many of them memory may suffice for."""
        self._refused: set[tuple[str, str]] = set()

    @property
    def runs(self) -> list[PlannedRun]:
        """What is left, in order."""
        return [run for run in self._order.values() if run.key in self._left]

    def put_back(self, run: PlannedRun, *, at_most: int | None = None) -> None:
        """Take a run in again that could not be worked on; ``at_most`` limits packs like its."""
        self._left.add(run.key)
        if at_most is not None:
            kind = _pack_kind(run)
            self._at_most[kind] = min(at_most, self._at_most.get(kind, at_most))

    def refuse(self, run: PlannedRun, device: Device) -> None:
        """Never hand out a run to such a device again."""
        self._refused.add((run.key, device.kind))

    def refuses(self, run: PlannedRun, device: Device) -> bool:
        """Say whether such a device has refused a run."""
        return (run.key, device.kind) in self._refused

    def take(self, device: Device) -> list[PlannedRun]:
        """Return and remove the next run, or several that ``device`` can train at once."""
        runs = [run for run in self.runs if not self.refuses(run, device)]
        first = next((run for run in runs if self._fits(run, device)), None)
        if first is None:
            return []
        group = [first]
        if self.pack > 1 and device.is_gpu and packable(first):
            kind = _pack_kind(first)
            group += [run for run in runs if run is not first and _pack_kind(run) == kind]
            group = group[: self._at_most.get(kind, self.pack)]
        self._left -= {run.key for run in group}
        return group

    def _fits(self, run: PlannedRun, device: Device) -> bool:
        """Say whether an epoch of the run can end in time; a speed that is a guess is tried."""
        if self.deadline is None:
            return True
        left_s = self.deadline - time.monotonic()
        return left_s > (self.throughput.measured_epoch_s(run.spec, device) or 0)


def _pack_kind(run: PlannedRun) -> tuple[str, ...]:
    """Return what runs must share to be trained in one step: all but seed and label noise."""
    data = replace(run.spec.data, clean_ratio=1.0, noise="fixed")
    spec = replace(run.spec, seed=0, data=data)
    return (msgspec.json.encode(spec).decode(), run.source.id)


def packable(run: PlannedRun) -> bool:
    """Say whether packing leaves a run's bits alone: dropout would share its generator.

    A user's own network may hide one. In float32, cuDNN's batch norm waits for the whole GPU, and
    next to other kernels it may wait forever (pytorch#80259); in bf16, torch's own is used.
    """
    if run.networks is not None or getattr(run.spec.model, "dropout", False):
        return False
    return run.spec.engine != "eager" and run.spec.precision == "bf16"
