"""What a person sees while a plan is worked through."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from resbench.protocol import AtStep, Epoch, RunEvent, Warned
from resbench.runner.devices import Device, like_the_first
from resbench.runner.plan import PlannedRun
from resbench.runner.throughput import Throughput
from resbench.store.state import Status
from resbench.words import duration

WIDE = 100
"""Columns from which a line has room for a run's device and speed."""
MARKS = {
    Status.DONE: ("done", "green"),
    Status.DIVERGED: ("diverged", "yellow"),
    Status.INTERRUPTED: ("interrupted", "cyan"),
    Status.RUNNING: ("waiting", "cyan"),
}


@dataclass
class _UnderWay:
    """What is known of a run that is being trained."""

    run: PlannedRun
    device: str
    began_at: float
    step: AtStep | None = None
    epoch: Epoch | None = None

    @property
    def error(self) -> str:
        if self.epoch is None:
            return ""
        return f"test error {self.epoch.metrics.test_top1_err:.2f} %"

    def cells(self, *, wide: bool) -> list[str | Text]:
        """What the display shows of it in one line; a narrow one without device and speed."""
        share = f"{100 * self.step.step / self.step.steps:.0f} %" if self.step else "starting"
        epoch = speed = ""
        if self.epoch:
            epoch = f"epoch {self.epoch.metrics.epoch} of {self.epoch.epochs}"
            speed = f"{self.epoch.timing.images_per_s:,.0f} images/s"
        label = Text(self.run.label, no_wrap=True, overflow="ellipsis")
        shown: list[str | Text] = [label, share, epoch, self.error]
        return [*shown, self.device, speed] if wide else shown


class Progress:
    """A live display on a terminal; elsewhere plain lines, one for each ended run."""

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        devices: Sequence[Device],
        throughput: Throughput,
        behind: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """``behind`` is how many epochs of a run are trained already, by its key."""
        self.console = Console(file=sys.stderr, highlight=False)
        self.total, self.workers, self.ended_runs = len(runs), like_the_first(devices), 0
        self.began_at = time.monotonic()
        self.left_s = {
            run.key: throughput.seconds(run.spec, devices[0], behind.get(run.key, 0))
            for run in runs
        }
        """Run key -> expected seconds, for the runs that have not ended."""
        self.under_way: dict[str, _UnderWay] = {}
        self.live = Live(console=self.console, get_renderable=self._table, transient=True)

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():  # FORCE_COLOR asks a log for colours, never for a moving cursor
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def began(self, run: PlannedRun, device: str) -> None:
        """Show a run as under way."""
        self.under_way[run.key] = _UnderWay(run, device, time.monotonic())

    def event(self, run: PlannedRun, event: RunEvent) -> None:
        """Update a run; print warnings at once."""
        if isinstance(event, Warned):
            self.console.print(Text(f"warning: {event.text}", "yellow"), soft_wrap=True)
            return
        shown = self.under_way[run.key]
        if isinstance(event, Epoch):
            shown.epoch = event
            event = AtStep(event.key, event.metrics.step, event.steps)
        shown.step = event
        if shown.epoch and (timing := shown.epoch.timing).images_per_s:
            images = (event.steps - event.step) * run.spec.training.batch_size
            evaluation = 1 + timing.eval_s / timing.duration_s
            self.left_s[run.key] = images / timing.images_per_s * evaluation

    def put_back(self, run: PlannedRun) -> None:
        """Show a run as under way no more."""
        self.under_way.pop(run.key, None)

    def ended(self, run: PlannedRun, status: Status, text: str) -> None:
        """Print how an attempt at a run ended."""
        shown = self.under_way.pop(run.key)
        parts = [run.label]
        if status is not Status.RUNNING:
            self.ended_runs += status is not Status.INTERRUPTED
            self.left_s.pop(run.key, None)
            if status is Status.DONE and shown.error:
                parts.append(shown.error)
            parts.append(duration(time.monotonic() - shown.began_at))
        word, colour = MARKS.get(status, (status.upper(), "red"))
        line = Text(f"[{self.ended_runs}/{self.total}] ")
        line.append(word, colour)
        for part in filter(None, (*parts, text)):
            line.append(f"  {part}")
        self.console.print(line, soft_wrap=True)

    def stopping(self) -> None:
        """Say that a signal has come."""
        self.console.print("stopping at the next step; a second signal ends everything at once")

    def remaining_s(self) -> float:
        """Return the expected time to the end."""
        return sum(self.left_s.values()) / self.workers

    def _table(self) -> Group:
        wide = self.console.width >= WIDE
        others = (Column(no_wrap=True) for _ in range(5 if wide else 3))
        runs = Table.grid(Column(), *others, padding=(0, 2))
        for run in list(self.under_way.values()):  # in rich's thread: runs begin and end meanwhile
            runs.add_row(*run.cells(wide=wide))
        past_s, left_s = time.monotonic() - self.began_at, self.remaining_s()
        bar = ProgressBar(total=max(1e-9, past_s + left_s), completed=past_s, width=20)
        said = f"{self.ended_runs} of {self.total} runs, {duration(past_s)}, "
        total = Table.grid(padding=(0, 2))
        total.add_row(bar, Text(f"{said}about {duration(left_s)} left", "bold", no_wrap=True))
        return Group(runs, total)
