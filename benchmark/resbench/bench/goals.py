"""The speed goals as data: what is measured, on which device, how, and what is aimed at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from resbench.bench import commands, gpu, loading, runs, tables, training
from resbench.bench.contest import ATTENTION_56, ATTENTION_92, TINY, Measure
from resbench.bench.measure import Spread
from resbench.errors import UsageError, did_you_mean

Level = Literal["stretch", "target", "floor", "missed"]


@dataclass(frozen=True)
class Goal:
    """One goal; ``name`` is its number in docs/speed.md, or a word where it has none."""

    name: str
    metric: str
    device: Literal["cpu", "cuda"]
    unit: str
    """``x``, better when larger: ours over the other side. %, s, h, MB: better when smaller."""
    floor: float | None
    target: float | None
    stretch: float | None
    measure: Measure

    def level(self, value: Spread) -> Level:
        """Return the highest aim that the median reaches."""
        aims: dict[Level, float | None] = {
            "stretch": self.stretch, "target": self.target, "floor": self.floor,
        }  # fmt: skip
        for name, aim in aims.items():
            if aim is not None and (
                value.median >= aim if self.unit == "x" else value.median <= aim
            ):
                return name
        return "missed"


def _train(
    cell: tuple[str, str], steps: int, batch_size: int | None = None, lanes: int = 1
) -> Measure:
    return partial(
        training.train_against_peer, cell=cell, steps=steps, batch_size=batch_size, lanes=lanes
    )


def _evaluate(cell: tuple[str, str], images: int) -> Measure:
    return partial(training.evaluate_against_peer, cell=cell, images=images)


def _start(*arguments: str) -> Measure:
    return partial(commands.start_up, arguments=arguments)


# fmt: off
GOALS: tuple[Goal, ...] = (
    Goal("1", "train Attention-92", "cuda", "x", 3.5, 5.5, 8,
         _train(ATTENTION_92, gpu.STEPS)),
    Goal("2", "train Attention-92, batch 128", "cuda", "x", 2.5, 4, 5,
         _train(ATTENTION_92, gpu.STEPS, batch_size=128)),
    Goal("3", "train 4 x Attention-92", "cuda", "x", 6, 10, 15,
         _train(ATTENTION_92, gpu.STEPS, lanes=4)),
    Goal("4", "4 seeds together against 1", "cuda", "x", 1.3, 1.7, 2, gpu.packed_against_alone),
    Goal("5", "bandwidth used", "cuda", "x", 0.25, 0.4, None,
         partial(gpu.bandwidth, lanes=1)),
    Goal("5", "bandwidth used by 4 seeds", "cuda", "x", 0.5, 0.75, None,
         partial(gpu.bandwidth, lanes=4)),
    Goal("6", "live data against a fixed batch", "cuda", "x", 0.95, 0.98, None,
         gpu.live_against_fixed),
    Goal("7", "deterministic against not", "cuda", "x", 0.85, 0.93, 1.0,
         gpu.deterministic_against_not),
    Goal("compile", "graph+compile against graph", "cuda", "x", None, None, None,
         gpu.compiled_against_not),
    Goal("8", "test Attention-92", "cuda", "x", 8, 15, 30, _evaluate(ATTENTION_92, 10_000)),
    Goal("9", "train Attention-56", "cpu", "x", 1.3, 1.5, 1.8, _train(ATTENTION_56, 2)),
    Goal("9", "train smoke network", "cpu", "x", 1.2, 1.35, 1.6, _train(TINY, 12)),
    Goal("10", "CIFAR batches", "cpu", "x", 5, 9, 13, loading.batches),
    Goal("11", "test smoke network", "cpu", "x", 1.5, 2.3, 3, _evaluate(TINY, 720)),
    Goal("12", "resbench --help", "cpu", "x", 10, 20, 40, _start("--help")),
    Goal("12", "resbench plan smoke", "cpu", "x", 10, 20, 40, _start("plan", "smoke")),
    Goal("12", "resbench validate smoke", "cpu", "x", 10, 20, 40, _start("validate", "smoke")),
    Goal("13", "start to first step", "cuda", "s", 20, 10, 6, runs.first_step),
    Goal("14", "queue of the runner", "cpu", "x", 0.95, 0.98, None,
         runs.queue_against_bare_workers),
    Goal("15", "every CIFAR table, 3 seeds", "cuda", "h", 40, 22, 12, tables.every_table),
    Goal("start", "start to first step", "cpu", "s", None, None, None, runs.first_step),
    Goal("overhead", "CPU share of the runner", "cpu", "%", None, 2, None,
         runs.runner_overhead),
    Goal("memory", "memory of the runner", "cpu", "MB", None, 1, None,
         runs.parent_memory),
    Goal("cells", "plan of 1,000 cells", "cpu", "s", None, 1, None,
         commands.plan_of_many_cells),
    Goal("report", "report of 1,000 runs", "cpu", "s", None, 3, None,
         commands.report_of_many_runs),
    Goal("smoke", "resbench run smoke", "cpu", "s", None, 60, None, commands.smoke_suite),
)
# fmt: on


def choose_goals(names: Sequence[str], device: str) -> list[Goal]:
    """Return the goals of a kind of device, those with one of ``names`` where any is given.

    Raises:
        UsageError: a name that no goal of the device has.
    """
    here = [goal for goal in GOALS if goal.device == device]
    known = dict.fromkeys(goal.name for goal in here)
    for name in names:
        if name not in known:
            raise UsageError(
                f"--goals {name}: no such goal of a {device} device.{did_you_mean(name, known)}"
            )
    return [goal for goal in here if goal.name in (names or known)]
