"""Contenders that take turns in one process, and ratios with their spread.

Wall clocks decide. CPU time, of this process and of the children it has waited for, stands next to
them, because it stays steady where other programs share the cores.
"""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median and range of one number over rounds."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Summarise at least one value."""
        return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Contender:
    """One side of a comparison; ``work`` does ``units`` images or commands a round."""

    name: str
    units: float
    work: Callable[[], object]
    settings: Callable[[], AbstractContextManager[object]] = nullcontext
    """Settings of the whole process under which ``work`` runs; entering them is not timed."""


@dataclass(frozen=True)
class Timed:
    """Units per second of one contender, round by round."""

    name: str
    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    def over(self, other: Timed) -> Spread:
        """Return how many times as fast this one is, from the quotients of the rounds."""
        return Spread.of([a / b for a, b in zip(self.wall, other.wall, strict=True)])

    def over_by_cpu_time(self, other: Timed) -> Spread:
        """Return the same by units per second of CPU time."""
        return Spread.of([a / b for a, b in zip(self.cpu, other.cpu, strict=True)])


def take_turns(
    contenders: Sequence[Contender],
    rounds: int,
    synchronize: Callable[[], object] = lambda: None,
    *,
    warm_up: bool = True,
) -> list[Timed]:
    """Time every contender once a round, in alternating order, after a round that is not counted.

    ``synchronize`` waits for the device before each look at the clock.
    """
    seconds: dict[str, list[tuple[float, float]]] = {c.name: [] for c in contenders}
    for number in range(-warm_up, rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            took = _time(contender, synchronize)
            if number >= 0:
                seconds[contender.name].append(took)
    return [
        Timed(
            contender.name,
            tuple(contender.units / wall for wall, _ in seconds[contender.name]),
            tuple(contender.units / cpu for _, cpu in seconds[contender.name]),
        )
        for contender in contenders
    ]


def _time(contender: Contender, synchronize: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of one round."""
    gc.collect()
    with contender.settings():
        synchronize()
        wall, cpu = time.perf_counter(), _cpu_seconds()
        contender.work()
        synchronize()
        return time.perf_counter() - wall, max(_cpu_seconds() - cpu, 1e-6)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
