"""What a person sees while a plan is worked through."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from resbench.runner.devices import Device
from resbench.runner.plan import PlannedRun
from resbench.runner.throughput import Throughput
from resbench.words import duration

MARKS = {
    "done": ("done", "green"),
    "diverged": ("diverged", "yellow"),
    "budget": ("put down", "cyan"),
    "interrupted": ("interrupted", "cyan"),
    "locked": ("waiting", "cyan"),
}

PUT_DOWN = ("budget", "interrupted")

SHOWN = {"step", "steps", "epoch", "epochs", "test_top1_err", "images_per_s"}
"""What of an event is displayed."""


@dataclass
class _Live:
    """What is known of a run that is under way."""

    run: PlannedRun
    device: str
    began_at: float
    step: int = 0
    steps: int = 0
    epoch: int = 0
    epochs: int = 0
    test_top1_err: float | None = None
    images_per_s: float | None = None

    def update(self, event: dict[str, Any]) -> None:
        for name in SHOWN & event.keys():
            setattr(self, name, event[name])

    @property
    def left_s(self) -> float | None:
        """Seconds to its end, at the speed of its last epoch."""
        if self.images_per_s is None:
            return None
        return (self.steps - self.step) * self.run.spec.training.batch_size / self.images_per_s

    @property
    def cells(self) -> list[str]:
        """What the display shows of it."""
        share = f"{100 * self.step / self.steps:.0f} %" if self.steps else "starting"
        epoch = f"epoch {self.epoch} of {self.epochs}" if self.epochs else ""
        error = "" if self.test_top1_err is None else f"test error {self.test_top1_err:.2f} %"
        speed = "" if self.images_per_s is None else f"{self.images_per_s:,.0f} images/s"
        return [self.run.label, self.device, share, epoch, error, speed]


class Progress:
    """A live display on a terminal; plain lines, one an ended run, elsewhere."""

    def __init__(self, total: int, workers: int, throughput: Throughput) -> None:
        self.console = Console(file=sys.stderr, highlight=False)
        self.total, self.workers, self.throughput = total, workers, throughput
        self.ended_runs = 0
        self.put_down = 0
        """Runs that this session leaves to a later one."""
        self.expected_s: dict[str, float] = {}
        """Run key -> seconds, for the runs that have not begun."""
        self.under_way: dict[str, _Live] = {}
        self.live: Live | None = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():  # FORCE_COLOR asks a log for colours, never for a moving cursor
            self.live = Live(
                console=self.console,
                get_renderable=self._table,
                refresh_per_second=4,
                transient=True,
            )
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def expect(self, runs: list[PlannedRun], device: Device) -> None:
        """Note how long the runs of the plan should take."""
        for run in runs:
            self.expected_s[run.key] = self.throughput.seconds(run.spec, device)

    def began(self, run: PlannedRun, device: str, pid: int) -> None:
        """Show a run as under way."""
        self.under_way[run.key] = _Live(run, device, time.monotonic())

    def event(self, run: PlannedRun, event: dict[str, Any]) -> None:
        """Update a run; print warnings at once."""
        if event["event"] == "warning":
            self.console.print(Text(f"warning: {event['text']}", "yellow"), soft_wrap=True)
        else:
            self.under_way[run.key].update(event)

    def ended(self, run: PlannedRun, outcome: str, text: str) -> None:
        """Print how a run ended."""
        live = self.under_way.pop(run.key)
        if outcome in PUT_DOWN:
            self.put_down += 1
        elif outcome != "locked":
            self.ended_runs += 1
        if outcome != "locked":
            self.expected_s.pop(run.key, None)
        word, colour = MARKS.get(outcome, (outcome.upper(), "red"))
        line = Text(f"[{self.ended_runs}/{self.total}] ")
        line.append(word, colour)
        line.append(f"  {run.label}")
        if outcome == "done" and live.test_top1_err is not None:
            line.append(f"  test error {live.test_top1_err:.2f} %")
        if outcome != "locked":
            line.append(f"  {duration(time.monotonic() - live.began_at)}")
        if text:
            line.append(f"  {text}")
        self.console.print(line, soft_wrap=True)

    def stopping(self) -> None:
        """Say that the end is near."""
        self.console.print("stopping at the next step; a second signal ends everything at once")

    def remaining_s(self) -> float | None:
        """Return the expected time to the end, once every run's is known."""
        left = dict(self.expected_s)
        for key, live in self.under_way.items():
            if live.left_s is not None:
                left[key] = live.left_s
        unknown = self.total - self.ended_runs - self.put_down - len(left)
        return None if unknown > 0 else sum(left.values()) / max(1, self.workers)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for live in self.under_way.values():
            table.add_row(*live.cells)
        left = self.remaining_s()
        eta = f", about {duration(left)} left" if left is not None else ""
        table.add_row(Text(f"{self.ended_runs} of {self.total} runs{eta}", "bold"))
        return table
