"""The plan: every run that suites need, each once, and which of them comes next."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from resbench.data.sources import Source
from resbench.models import FAMILIES
from resbench.runner.devices import Device
from resbench.runner.throughput import Throughput
from resbench.suite.expand import Context, Expanded
from resbench.suite.spec import RunSpec


@dataclass
class PlannedRun:
    """One run: its specification, and the cells of tables that it fills."""

    key: str
    spec: RunSpec
    source: Source
    context: Context
    seed_rank: int
    """Position of the run's seed among the suite's, so that n grows evenly."""
    networks: Path | None = None
    """The user's file that declares the run's network, where it is none of resbench's."""
    cells: list[tuple[str, str]] = field(default_factory=list)
    """Suite and cell."""

    @property
    def label(self) -> str:
        """What progress shows: the first cell that it fills, and the seed."""
        more = f" +{len(self.cells) - 1}" if len(self.cells) > 1 else ""
        return f"{' '.join(self.cells[0])}{more} seed {self.spec.seed}"

    def stored_context(self) -> dict[str, Any]:
        """Return the context as it is stored with the run."""
        choice = self.context.data[self.spec.data.name]
        return {
            "tier": self.context.tier,
            "engine": self.context.engine,
            "precision": self.context.precision,
            "data": {choice.name: asdict(choice)},
            "overrides": [[key, value] for key, value in self.context.overrides],
            "cells": [list(cell) for cell in self.cells],
        }


def plan(suites: Sequence[Expanded], sources: dict[str, Source]) -> list[PlannedRun]:
    """Return the runs of all suites without repetition, seeds in rounds.

    Within a round the order is that of the suites and their cells, so that wherever the time ends
    all cells have as many seeds, but for one.
    """
    runs: dict[str, PlannedRun] = {}
    for expanded in suites:
        for (rank, seed), cell in product(enumerate(expanded.seeds), expanded.cells):
            if cell.spec is None:
                continue
            spec = cell.at_seed(seed)
            if (key := spec.key) not in runs:
                source = sources[spec.data.name]
                own = None if spec.model.family in FAMILIES else expanded.loaded.networks
                runs[key] = PlannedRun(key, spec, source, expanded.context, rank, own)
            runs[key].cells.append((expanded.loaded.suite.name, cell.id))
    return sorted(runs.values(), key=lambda run: run.seed_rank)


class Queue:
    """The runs of a plan that no worker holds, handed out in the plan's order.

    With a ``deadline``, the monotonic time at which everything must have stopped, a run is handed
    out only if one of its epochs can end before then. ``pack`` is how many seeds of one network a
    GPU may train at once.
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
        self._at_most: dict[str, int] = {}
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

    def withdraw(self, devices: Sequence[Device]) -> list[PlannedRun]:
        """Return and remove the runs that all of these devices have refused."""
        refused = [run for run in self.runs if all(self.refuses(run, device) for device in devices)]
        self._left -= {run.key for run in refused}
        return refused

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


def _pack_kind(run: PlannedRun) -> str:
    """Return what runs must share to be trained in one step: all but seed and label noise."""
    data = replace(run.spec.data, clean_ratio=1.0, noise="fixed")
    return msgspec.json.encode(replace(run.spec, seed=0, data=data)).decode()


def packable(run: PlannedRun) -> bool:
    """Say whether packing leaves a run's bits alone.

    Dropout, which a user's own network may hide, would share its generator. In float32, cuDNN's
    batch norm waits for the whole GPU, and next to other kernels it may wait forever
    (pytorch#80259); in bf16, torch's own is used.
    """
    if run.networks is not None or getattr(run.spec.model, "dropout", False):
        return False
    return run.spec.engine != "eager" and run.spec.precision == "bf16"
