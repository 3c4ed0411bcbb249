"""What a measurement starts from and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from msgspec.structs import replace

from resbench.analysis.declared import declared
from resbench.bench.measure import Spread, Timed
from resbench.suite.catalog import load_suite
from resbench.suite.spec import RunSpec, Schedule

ATTENTION_56 = ("table1_arl_vs_nal", "attention-56/arl")
ATTENTION_92 = ("table1_arl_vs_nal", "attention-92/arl")
TINY = ("smoke", "mixed/arl")
Cell = tuple[str, str]


@dataclass(frozen=True)
class Bench:
    """How to measure."""

    device: torch.device
    quick: bool = False
    """Narrow networks, few rounds, few runs: shows that everything works and measures nothing."""

    @property
    def on_gpu(self) -> bool:
        """Whether a CUDA device is measured."""
        return self.device.type == "cuda"

    def rounds(self, full: int) -> int:
        """Return how many rounds to time."""
        return 1 if self.quick else full

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def spec(self, cell: Cell, *, batch_size: int | None = None, steps: int) -> RunSpec:
        """Return the run of a suite's cell on this device, epochs of ``steps`` steps for ever.

        Its learning rate is one at which nothing diverges on images that mean nothing.
        """
        suite, name = cell
        spec = declared(load_suite(suite)).cell(name).at_seed(1)
        optim = replace(spec.training.optim, lr=1e-6)
        batch = batch_size or spec.training.batch_size
        schedule = Schedule(unit="step", total=steps * 10**6, drops=(), warmup=None)
        training = replace(spec.training, optim=optim, schedule=schedule, batch_size=batch)
        changes: dict[str, object] = {"training": training}
        if self.quick:
            changes["model"] = replace(spec.model, width=0.125)
            changes["data"] = replace(spec.data, image_px=8)
        spec = replace(spec, **changes)
        return replace(spec, **self.defaults)

    @property
    def defaults(self) -> dict[str, Any]:
        """Return the engine and the precision that `resbench run` takes on this device."""
        return {"engine": "graph", "precision": "bf16"} if self.on_gpu else {}


@dataclass(frozen=True)
class Reading:
    """One measured row: ``value`` is what the goal is about."""

    value: Spread
    """In the goal's unit."""
    against: str = ""
    """The other side of a ratio."""
    ours: Spread | None = None
    other: Spread | None = None
    rates: str = ""
    """Unit of ``ours`` and ``other``."""
    by_cpu_time: Spread | None = None
    """The same ratio of CPU times."""
    cpu_s: Spread | None = None
    """CPU seconds, where ``value`` is a duration."""
    judged: bool = True
    """Whether this row is what the goal's floor and target speak of."""
    note: str = ""


Measure = Callable[[Bench], Sequence[Reading]]


def ratios(timed: Sequence[Timed], rates: str = "images/s") -> list[Reading]:
    """Return a row for the first contender against each of the others; the first row is judged."""
    ours, *others = timed
    return [
        Reading(
            ours.over(other),
            against=other.name,
            ours=ours.rate,
            other=other.rate,
            rates=rates,
            by_cpu_time=ours.over_by_cpu_time(other),
            judged=other is others[0],
        )
        for other in others
    ]
