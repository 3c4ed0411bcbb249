"""Working through a plan: workers, outcomes, signals, budgets.

One thread, no shared state: the parent waits for lines from its workers and decides what they do
next. A crash or an out-of-memory costs the run that it happened to and nothing else.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from resbench.runner.devices import Device
from resbench.runner.plan import PlannedRun, worth
from resbench.runner.throughput import Throughput, kind_of
from resbench.runner.worker import Worker
from resbench.store.job import Job
from resbench.store.layout import RunFolder
from resbench.store.locks import is_locked, try_lock
from resbench.store.state import Status, read_state, write_state

POLL_S = 0.2
LOCK_POLL_S = 1.0


@dataclass(frozen=True)
class Settings:
    """How to work through a plan."""

    results: Path
    devices: Sequence[Device]
    threads: int = 1
    deadline: float | None = None
    """Monotonic time at which everything must have been put down."""
    timeout_s: float | None = None
    """Longest time for one attempt at a run."""
    pack: int = 1
    accept_environment: bool = False


class Listener(Protocol):
    """Hears what happens: the progress display and the mirror."""

    def began(self, run: PlannedRun, device: str, pid: int) -> None:
        """A run was handed to a worker."""

    def event(self, run: PlannedRun, event: dict[str, Any]) -> None:
        """A worker said something about a run."""

    def ended(self, run: PlannedRun, outcome: str, text: str) -> None:
        """An attempt at a run is over."""


@dataclass
class Summary:
    """What came of a plan."""

    outcomes: dict[str, str] = field(default_factory=dict)
    """Run key -> outcome, for every run that was attempted."""
    left: list[PlannedRun] = field(default_factory=list)
    """Not finished and not failed: interrupted, out of budget, or never started."""
    faults: list[str] = field(default_factory=list)
    """Faults of the environment that stopped the whole plan."""
    signal: int | None = None

    def count(self, *outcomes: str) -> int:
        """Return how many runs ended in one of ``outcomes``."""
        return sum(outcome in outcomes for outcome in self.outcomes.values())


class Session:
    """Runs a plan to its end, its deadline or a signal."""

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        settings: Settings,
        throughput: Throughput,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.settings, self.throughput, self.listeners = settings, throughput, listeners
        self.queue = list(runs)
        self.elsewhere: list[PlannedRun] = []
        self.summary = Summary()
        self.selector = selectors.DefaultSelector()
        self.slots: list[Worker | None] = [None] * len(settings.devices)
        self._lock_poll = 0.0
        self.measured: set[str] = set()

    def run(self) -> Summary:
        """Work until nothing is left that can make progress."""
        previous = {n: signal.signal(n, self._on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self._assign() or self._busy() or self._waiting_for_others():
                self._listen()
                self._check_limits()
        finally:
            for worker in self.slots:
                if worker is not None:
                    worker.close()
            self.selector.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
        self.summary.left += self.queue + self.elsewhere
        self.throughput.save()
        return self.summary

    # -- handing out -----------------------------------------------------------------------------

    def _stopping(self) -> bool:
        return self.summary.signal is not None or bool(self.summary.faults)

    def _busy(self) -> bool:
        return any(worker is not None and worker.busy for worker in self.slots)

    def _assign(self) -> bool:
        """Give every idle slot its next runs; say whether anything was handed out."""
        assigned = False
        for i, device in enumerate(self.settings.devices):
            worker = self.slots[i]
            if self._stopping() or (worker is not None and worker.busy):
                continue
            unknown = self._unmeasured(device)
            if unknown is not None:
                self._measure(i, device, unknown)
                assigned = True
            elif group := self._next_group(device):
                self._start(i, device, group)
                assigned = True
        return assigned

    def _next_group(self, device: Device) -> list[PlannedRun]:
        order = self.queue
        if self.settings.deadline is not None:
            order = self._by_worth(device)
        if not order:
            return []
        first = order[0]
        limit = self.settings.pack if device.is_gpu and packable(first) else 1
        group = [run for run in order if pack_kind(run) == pack_kind(first)][:limit]
        for run in group:
            self.queue.remove(run)
        return group

    def _by_worth(self, device: Device) -> list[PlannedRun]:
        """Order by round of seeds, then worth a second; leave out what cannot end an epoch."""
        assert self.settings.deadline is not None
        left_s = self.settings.deadline - time.monotonic()
        ranked = []
        for run in self.queue:
            epoch_s = self.throughput.epoch_seconds(run.spec, device.name)
            if left_s <= 0 or (epoch_s is not None and epoch_s > left_s):
                continue
            remaining = self.throughput.seconds(run.spec, device.name, self._done_epochs(run))
            rank = -worth(run, remaining) if remaining is not None else -len(run.places)
            ranked.append((run.seed_rank, rank, run))
        return [run for *_, run in sorted(ranked, key=lambda item: item[:2])]

    def _done_epochs(self, run: PlannedRun) -> int:
        state = read_state(RunFolder(self.settings.results, run.key))
        return state.epoch if state is not None else 0

    def _unmeasured(self, device: Device) -> PlannedRun | None:
        """Return a run whose speed a budget needs to know and nobody has measured."""
        if self.settings.deadline is None or time.monotonic() > self.settings.deadline:
            return None
        for run in self.queue:
            kind = kind_of(run.spec, device.name)
            if kind not in self.measured and self.throughput.seconds(run.spec, device.name) is None:
                return run
        return None

    def _measure(self, slot: int, device: Device, run: PlannedRun) -> None:
        self.measured.add(kind_of(run.spec, device.name))
        self._worker(slot, device).measure(run, self._job(run, device))

    def _worker(self, slot: int, device: Device) -> Worker:
        worker = self.slots[slot]
        if worker is None:
            worker = Worker(device, self.settings.threads)
            self.selector.register(worker.descriptor, selectors.EVENT_READ, slot)
            self.slots[slot] = worker
        return worker

    def _start(self, slot: int, device: Device, group: list[PlannedRun]) -> None:
        worker = self._worker(slot, device)
        worker.start(group, [self._job(run, device) for run in group])
        for run in group:
            for listener in self.listeners:
                listener.began(run, device.name, worker.process.pid)

    def _job(self, run: PlannedRun, device: Device) -> Job:
        source = asdict(run.source)
        source["path"] = None if run.source.path is None else str(run.source.path)
        return Job(
            key=run.key,
            spec=run.spec.canonical(),
            context=run.stored_context(),
            source=source,
            results=str(self.settings.results),
            device=device.name,
            threads=self.settings.threads,
            deadline=self.settings.deadline,
            epoch_s=self.throughput.epoch_seconds(run.spec, device.name),
            accept_environment=self.settings.accept_environment,
        )

    # -- listening -------------------------------------------------------------------------------

    def _listen(self) -> None:
        for entry, _ in self.selector.select(POLL_S):
            worker = self.slots[entry.data]
            assert worker is not None
            events, ended = worker.read()
            for event in events:
                self._handle(worker, event)
            if ended:
                self._bury(entry.data, worker)

    def _handle(self, worker: Worker, event: dict[str, Any]) -> None:
        if event["event"] == "fault" and event["text"] not in self.summary.faults:
            self.summary.faults.append(event["text"])
        if event["event"] == "measured":
            self._learn(worker, event)
        for run in [run for run in worker.runs if run.key in event.get("keys", ())]:
            if event["event"] == "end":
                worker.runs.remove(run)
                self._end(run, event["outcome"], event["text"])
            else:
                for listener in self.listeners:
                    listener.event(run, event)

    def _learn(self, worker: Worker, event: dict[str, Any]) -> None:
        run, worker.measuring = worker.measuring, None
        if run is not None and event["train_images_per_s"] > 0:
            rates = event["train_images_per_s"], event["eval_images_per_s"]
            self.throughput.learn(run.spec, worker.device.name, *rates)

    def _end(self, run: PlannedRun, outcome: str, text: str) -> None:
        if outcome == "locked":
            self.elsewhere.append(run)
            return
        self.summary.outcomes[run.key] = outcome
        if outcome in ("interrupted", "budget"):
            self.summary.left.append(run)
        for listener in self.listeners:
            listener.ended(run, outcome, text)

    def _bury(self, slot: int, worker: Worker) -> None:
        """A worker's output has ended: account for the runs it held, and free its slot."""
        self.selector.unregister(worker.descriptor)
        self.slots[slot] = None
        outcome, text = worker.obituary() if worker.busy else ("", "")
        for run in worker.runs:
            tail = self._last_line(run)
            text = f"{text}; its log ends: {tail}" if tail else text
            self._note(run, outcome, text)
            self._end(run, outcome, text)
        worker.runs, worker.measuring = [], None
        worker.close()

    def _last_line(self, run: PlannedRun) -> str:
        """Return the end of a run's log, where native code says why it died."""
        log = RunFolder(self.settings.results, run.key).log
        try:
            lines = log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def _note(self, run: PlannedRun, outcome: str, text: str) -> None:
        """Write the state that the dead worker could not write."""
        folder = RunFolder(self.settings.results, run.key)
        if not folder.path.is_dir():
            return
        with (lock := try_lock(folder.path)) or _Nothing():
            if lock is not None:
                epoch = self._done_epochs(run)
                write_state(folder, Status(outcome), epoch=epoch, reason=text)

    # -- limits ----------------------------------------------------------------------------------

    def _check_limits(self) -> None:
        limit = self.settings.timeout_s
        for worker in self.slots:
            if worker is None or not worker.busy or worker.killed_for is not None:
                continue
            if limit is not None and time.monotonic() - worker.since > limit:
                worker.kill(f"longer than --timeout {limit:g} s")
            elif self.summary.faults and not self.summary.signal:
                worker.terminate()

    def _waiting_for_others(self) -> bool:
        """Look after runs that another process works on; take up what it has put down."""
        if not self.elsewhere or self._stopping():
            return False
        if self.settings.deadline is not None and time.monotonic() > self.settings.deadline:
            return False
        if time.monotonic() - self._lock_poll > LOCK_POLL_S:
            self._lock_poll = time.monotonic()
            free = [
                run
                for run in self.elsewhere
                if not is_locked(RunFolder(self.settings.results, run.key).path)
            ]
            self.queue += free
            self.elsewhere = [run for run in self.elsewhere if run not in free]
        if not self._busy():
            time.sleep(POLL_S)
        return True

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.summary.signal is not None:
            for worker in self.slots:
                if worker is not None:
                    worker.process.kill()
            raise SystemExit(128 + number)
        self.summary.signal = number
        for worker in self.slots:
            if worker is not None:
                worker.terminate()


class _Nothing:
    """A context that holds nothing, where a lock was not to be had."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def pack_kind(run: PlannedRun) -> tuple[str, ...]:
    """Return what runs must share to be trained in one step: all but seed and label noise."""
    data = run.spec.data.model_copy(update={"clean_ratio": 1.0, "noise": "fixed"})
    spec = run.spec.model_copy(update={"seed": 0, "data": data})
    return (spec.model_dump_json(), run.source.id)


def packable(run: PlannedRun) -> bool:
    """Say whether packing leaves a run's bits alone: dropout would share its generator."""
    return run.spec.engine != "eager" and not getattr(run.spec.model, "dropout", 0.0)
