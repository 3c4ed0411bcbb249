"""What a person sees while a plan is worked through."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from resbench.runner.plan import PlannedRun
from resbench.runner.throughput import Throughput

MARKS = {
    "done": ("done", "green"),
    "diverged": ("diverged", "yellow"),
    "budget": ("put down", "cyan"),
    "interrupted": ("interrupted", "cyan"),
}


def duration(seconds: float) -> str:
    """Return a duration as people say it: 42 s, 7 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """A live display on a terminal; plain lines, one an ended run, elsewhere."""

    def __init__(self, total: int, workers: int, throughput: Throughput) -> None:
        self.console = Console(file=sys.stderr, highlight=False)
        self.total, self.workers, self.throughput = total, workers, throughput
        self.ended_runs = 0
        self.left_s: dict[str, float] = {}
        self.under_way: dict[str, dict[str, Any]] = {}
        self.began_at: dict[str, float] = {}
        self.labels: dict[str, str] = {}
        self.live: Live | None = None

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.live = Live(
                console=self.console, get_renderable=self._table, refresh_per_second=4, transient=True
            )
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def expect(self, runs: list[PlannedRun], device: str) -> None:
        """Note how long the runs of the plan should take, where that is known."""
        for run in runs:
            seconds = self.throughput.seconds(run.spec, device)
            if seconds is not None:
                self.left_s[run.key] = seconds

    def began(self, run: PlannedRun, device: str, pid: int) -> None:
        """Show a run as under way."""
        self.under_way[run.key] = {"device": device}
        self.began_at[run.key] = time.monotonic()
        self.labels[run.key] = run.label

    def event(self, run: PlannedRun, event: dict[str, Any]) -> None:
        """Update a run; print warnings at once."""
        if event["event"] == "warning":
            self.console.print(Text(f"warning: {event['text']}", "yellow"))
            return
        state = self.under_way.setdefault(run.key, {})
        state |= {k: v for k, v in event.items() if k not in ("event", "keys")}
        if "images_per_s" in event:
            left = (event["steps"] - event["step"]) * run.spec.training.batch_size
            self.left_s[run.key] = left / event["images_per_s"]

    def ended(self, run: PlannedRun, outcome: str, text: str) -> None:
        """Print how a run ended."""
        self.ended_runs += 1
        state = self.under_way.pop(run.key, {})
        self.left_s.pop(run.key, None)
        took = duration(time.monotonic() - self.began_at.pop(run.key, time.monotonic()))
        word, colour = MARKS.get(outcome, (outcome.upper(), "red"))
        line = Text(f"[{self.ended_runs}/{self.total}] ")
        line.append(word, colour)
        line.append(f"  {run.label}")
        if outcome == "done" and "test_top1_err" in state:
            line.append(f"  test error {state['test_top1_err']:.2f} %")
        line.append(f"  {took}")
        if text:
            line.append(f"  {text}")
        self.console.print(line, soft_wrap=True)

    def remaining_s(self) -> float | None:
        """Return the expected time to the end, once every run's is known."""
        unknown = self.total - self.ended_runs - len(self.left_s)
        return None if unknown > 0 else sum(self.left_s.values()) / max(1, self.workers)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for key, state in self.under_way.items():
            share = state["step"] / state["steps"] if "step" in state else 0.0
            table.add_row(
                self.labels[key],
                state.get("device", ""),
                f"{100 * share:.0f} %",
                f"epoch {state['epoch']}/{state['epochs']}" if "epoch" in state else "starting",
                f"test {state['test_top1_err']:.2f} %" if "test_top1_err" in state else "",
                f"{state['images_per_s']:.0f} img/s" if "images_per_s" in state else "",
            )
        left = self.remaining_s()
        eta = f", about {duration(left)} left" if left is not None else ""
        table.add_row(Text(f"{self.ended_runs} of {self.total} runs{eta}", "bold"))
        return table
