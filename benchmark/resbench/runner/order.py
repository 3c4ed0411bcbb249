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
    run is handed out as long as one of its epochs can end before. ``pack`` is how many seeds of one
    network a GPU may train at once.
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
        self._alone: set[str] = set()
        self._refused: set[tuple[str, str]] = set()

    @property
    def runs(self) -> list[PlannedRun]:
        """What is left, in order."""
        return [run for run in self._order.values() if run.key in self._left]

    def put_back(self, run: PlannedRun, *, alone: bool = False) -> None:
        """Take a run in again that could not be worked on; ``alone``: it is never packed."""
        self._left.add(run.key)
        if alone:
            self._alone.add(run.key)

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
        if self.pack > 1 and device.is_gpu and self._packable(first):
            kind = _pack_kind(first)
            others = (run for run in runs if run is not first and self._packable(run))
            group += [run for run in others if _pack_kind(run) == kind]
        group = group[: self.pack]
        self._left -= {run.key for run in group}
        return group

    def _packable(self, run: PlannedRun) -> bool:
        return run.key not in self._alone and packable(run)

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

    In float32, cuDNN's batch norm waits for the whole GPU, and next to other kernels it may wait
    forever (pytorch#80259); in bf16, torch's own is used.
    """
    dropout = getattr(run.spec.model, "dropout", 0.0)
    return run.spec.engine != "eager" and run.spec.precision == "bf16" and not dropout
