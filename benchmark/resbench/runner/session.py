"""Working through a plan: workers, ends, signals, deadlines.

One thread, no shared state: the parent waits for lines from its workers and decides what they do
next. A crash or an out-of-memory costs the run that it happened to and nothing else.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from resbench.errors import ResbenchError
from resbench.process import STOP_SIGNALS
from resbench.protocol import DEVICE_FAULT, AtStep, End, Epoch, Event, Fault, Job, Unfit, Warned
from resbench.runner.devices import Device
from resbench.runner.plan import PlannedRun, Queue
from resbench.runner.progress import Progress
from resbench.runner.throughput import Speed, Throughput
from resbench.runner.worker import Worker
from resbench.store.layout import RunFolder
from resbench.store.locks import is_locked, try_lock
from resbench.store.records import read_record
from resbench.store.state import Status, write_state
from resbench.suite.schedule import resolve
from resbench.words import duration

POLL_S = 0.2
LOCK_POLL_S = 1.0
GRACE_S = 30.0
"""A worker that does not train yet has this long to stop: it may be capturing or compiling."""
SILENCE_S = 30 * 60.0
"""A worker that says nothing for this long hangs: it reports every second of training, and all else
takes minutes at most."""
LATE_S = 10.0
"""Where this process did nothing for this long, it was suspended, and its workers with it."""


@dataclass(frozen=True)
class SessionSettings:
    """How to work through a plan."""

    results: Path
    devices: Sequence[Device]
    deadline: float | None = None
    """Monotonic time at which training stops; a worker that starts then has GRACE_S to stop."""
    pack: int = 1
    accept_environment: bool = False
    keep_weights: bool = False
    wait: bool = True
    """Whether to wait for runs that other processes work on, in case they leave them unfinished."""


@dataclass
class PlanEnd:
    """How a plan ended."""

    ended: dict[str, Status] = field(default_factory=dict)
    """Run key -> how it ended, for every run that was attempted."""
    left: list[PlannedRun] = field(default_factory=list)
    """Not finished and not failed: interrupted, out of budget, or never started."""
    faults: list[str] = field(default_factory=list)
    """Faults of the environment that stopped the whole plan."""
    signal: int | None = None
    epochs: int = 0
    """Whole epochs trained."""
    epoch_s: float | None = None
    """Expected seconds of the shortest epoch of what is left, where known."""
    elsewhere: set[str] = field(default_factory=set)
    """Keys of what is left because other processes are training it."""

    @property
    def failed(self) -> list[str]:
        """Keys of the runs that failed."""
        return [key for key, status in self.ended.items() if status.is_failure]


class Session:
    """Runs a plan to its end, its deadline or a signal."""

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        settings: SessionSettings,
        throughput: Throughput,
        progress: Progress,
    ) -> None:
        self.settings, self.throughput, self.progress = settings, throughput, progress
        self.queue = Queue(runs, throughput, deadline=settings.deadline, pack=settings.pack)
        self.elsewhere: list[PlannedRun] = []
        self.summary = PlanEnd()
        self.selector = selectors.DefaultSelector()
        self.workers: dict[int, Worker] = {}
        """By the position of its device: several workers may share the CPU."""
        self.in_use = list(settings.devices)
        """The devices that have not failed."""
        self._lock_poll = 0.0
        self._checked_at = time.monotonic()
        self._announced = False

    def run(self, noted: Sequence[int] = ()) -> PlanEnd:
        """Work until nothing is left that can make progress.

        ``noted`` are the signals received before; the caller may add to it until this takes over.
        """
        previous = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        # A terminal that is closed takes its display with it, and no training.
        previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if noted and self.summary.signal is None:
            self.summary.signal = noted[0]
        try:
            while self._assign() or self._busy() or self._waiting_for_others():
                self._listen()
                self._check_limits()
            if not self._stopping():
                self._give_up()
        finally:
            for worker in self.workers.values():
                worker.close()
            self.selector.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
        summary = self.summary
        summary.left += self.queue.runs + self.elsewhere
        summary.elsewhere = {run.key for run in self.elsewhere}
        device = self.settings.devices[0]
        epochs_s = [self.throughput.epoch_seconds(run.spec, device) for run in summary.left]
        summary.epoch_s = min(epochs_s, default=None)
        return summary

    # -- handing out -----------------------------------------------------------------------------

    def _stopping(self) -> bool:
        return self.summary.signal is not None or bool(self.summary.faults)

    def _busy(self) -> bool:
        return any(worker.busy for worker in self.workers.values())

    def _assign(self) -> bool:
        """Give every idle slot its next runs; say whether anything was handed out."""
        assigned = False
        for i, device in enumerate(self.settings.devices):
            worker = self.workers.get(i)
            if self._stopping() or (worker is not None and worker.busy):
                continue
            if device in self.in_use and (group := self.queue.take(device)):
                try:
                    worker = self._worker(i, device)
                except OSError as error:  # no process, no memory, no room for its output
                    for run in group:
                        self.queue.put_back(run)
                    self._fault(f"A worker cannot be started: {error.strerror or error}.")
                    continue
                worker.start(group, [self._job(run, device) for run in group])
                for run in group:
                    self.progress.began(run, device.name)
                assigned = True
        return assigned

    def _worker(self, slot: int, device: Device) -> Worker:
        worker = self.workers.get(slot)
        if worker is not None and worker.process.poll() is not None:  # killed while it was idle
            self._bury(slot)
        if slot not in self.workers:
            worker = self.workers[slot] = Worker(device)
            self.selector.register(worker.descriptor, selectors.EVENT_READ, slot)
        return self.workers[slot]

    def _job(self, run: PlannedRun, device: Device) -> Job:
        return Job(
            key=run.key,
            spec=run.spec.canonical(),
            context=run.stored_context(),
            source=run.source,
            networks=run.networks,
            results=self.settings.results,
            device=device.name,
            deadline=self.settings.deadline,
            epoch_s=self.throughput.measured_epoch_s(run.spec, device),
            accept_environment=self.settings.accept_environment,
            keep_weights=self.settings.keep_weights,
        )

    # -- listening -------------------------------------------------------------------------------

    def _listen(self) -> None:
        for entry, _ in self.selector.select(POLL_S):
            worker = self.workers[entry.data]
            events, ended = worker.read()
            for event in events:
                self._handle(worker, event)
            if ended:
                self._bury(entry.data)

    def _handle(self, worker: Worker, event: Event) -> None:
        worker.heard(event)
        if isinstance(event, Fault):
            self._fault(event.text)
        elif isinstance(event, Unfit) and event.key is None:
            self._leave_out(worker, event.text)
        elif isinstance(event, Unfit | Warned | AtStep | Epoch | End):
            run = next(run for run in worker.runs if run.key == event.key)
            if isinstance(event, Unfit):
                self.queue.refuse(run, worker.device)
            elif isinstance(event, End):
                worker.runs.remove(run)
                self._ended(run, worker, event.status, event.text)
            else:
                if isinstance(event, Epoch):
                    self.summary.epochs += 1
                    self._learn(run, worker.device, event)
                self.progress.event(run, event)

    def _fault(self, text: str) -> None:
        if text not in self.summary.faults:
            self.summary.faults.append(text)

    def _learn(self, run: PlannedRun, device: Device, event: Epoch) -> None:
        """Note how fast an epoch was; packed runs are no measure of one."""
        timing, steps = event.timing, resolve(run.spec)
        if timing.images_per_s > 0 and timing.duration_s > 0 and timing.packed == 1:
            speed = Speed(timing.images_per_s, timing.eval_s / timing.duration_s)
            self.throughput.learn(run.spec, device, speed, len(steps.in_epoch(timing.epoch)))

    def _leave_out(self, worker: Worker, why: str) -> None:
        """Give no more runs to a device that has failed; those that it has go to the others."""
        device = worker.device
        if device not in self.in_use:  # every run of a pack says so
            return
        self.in_use = [other for other in self.in_use if other != device]
        failed = f"{device.name} ({device.label}) failed: {why.rstrip('.')}."
        if not self.in_use:
            self._fault(f"{failed} No device is left.")
            return
        runs = ", ".join(run.label for run in worker.runs)
        text = f"{failed} It is not used again; another device continues {runs}"
        self.progress.event(worker.runs[0], Warned(worker.runs[0].key, text))

    def _ended(self, run: PlannedRun, worker: Worker, status: Status, text: str) -> None:
        """End an attempt, or hand the run out again: in a smaller pack, to another worker."""
        elsewhere = worker.device not in self.in_use
        if self.queue.refuses(run, worker.device):
            elsewhere = any(not self.queue.refuses(run, device) for device in self.in_use)
        packed, unsound = worker.packed, worker.failed and status is Status.INTERRUPTED
        asked = self._stopping() or self.settings.deadline is not None
        if status is Status.INTERRUPTED and not (asked or unsound):
            status, text = Status.FAILED, f"its worker was stopped from outside; {text}"
        if status is Status.OOM and packed > 1:
            text = f"{run.label}: not enough memory for {packed} runs at once; trying fewer"
            self.progress.event(run, Warned(run.key, text))
            self.progress.put_back(run)
            self.queue.put_back(run, at_most=packed // 2)
        elif unsound or (status is Status.FAILED and elsewhere):
            self.progress.put_back(run)
            self.queue.put_back(run)
        else:
            self.progress.ended(run, status, text)
            if status is Status.RUNNING:
                self.elsewhere.append(run)
                return
            self.summary.ended[run.key] = status
            if status is Status.INTERRUPTED:
                self.summary.left.append(run)

    def _give_up(self) -> None:
        """Fail the runs that all devices in use refuse: those that could train them have failed."""
        for run in self.queue.withdraw(self.in_use):
            self.progress.began(run, self.in_use[0].name)
            text = "it was started on another kind of device, of which none is left here"
            self.progress.ended(run, Status.FAILED, text)
            self.summary.ended[run.key] = Status.FAILED

    def _bury(self, slot: int) -> None:
        """A worker's output has ended: account for the runs it held, and free its slot."""
        worker = self.workers.pop(slot)
        self.selector.unregister(worker.descriptor)
        if worker.busy:
            status, text = worker.obituary()
            whys = {run.key: text for run in worker.runs}
            if status.is_failure:
                whys = {run.key: text + worker.said_of(run) for run in worker.runs}
            device_faults = filter(DEVICE_FAULT.search, whys.values())
            if worker.device.is_gpu and (why := next(device_faults, None)):
                self._leave_out(worker, why)
            elif status is Status.FAILED and not (worker.ready or worker.killed):
                self._fault(f"A worker cannot start: {text}")
            for run in worker.runs:
                folder, end = RunFolder(self.settings.results, run.key), (status, whys[run.key])
                with suppress(ResbenchError):  # recorded, and killed before it could say so
                    end = Status(read_record(folder).status), "recorded before its worker ended"
                _note(folder, *end)
                self._ended(run, worker, *end)
        worker.close()

    # -- limits ----------------------------------------------------------------------------------

    def _check_limits(self) -> None:
        if self.summary.signal is not None and not self._announced:
            self._announced = True
            self.progress.stopping()
        now = time.monotonic()
        absent_s, self._checked_at = now - self._checked_at, now
        for slot, worker in list(self.workers.items()):
            if not worker.busy:
                continue
            if absent_s > LATE_S:
                worker.heard_at += absent_s
            ends = (self.settings.deadline, worker.stopped_at)
            late = any(end is not None and now - end > GRACE_S for end in ends)
            if worker.killed_at is not None:
                if now - worker.killed_at > GRACE_S:  # its output may stay open for ever
                    self._bury(slot)
            elif late and not worker.training:
                worker.kill(Status.INTERRUPTED, "stopped while it was starting")
            elif now - worker.heard_at > SILENCE_S:
                why = f"its worker gave no sign of life for {duration(SILENCE_S)}"
                worker.kill(Status.TIMEOUT, why)
            elif self._stopping():
                worker.stop()

    def _waiting_for_others(self) -> bool:
        """Watch the runs that other processes train; take those that they have left."""
        now, deadline = time.monotonic(), self.settings.deadline
        if not self.settings.wait or not self.elsewhere or self._stopping():
            return False
        if deadline is not None and now > deadline:
            return False
        if now - self._lock_poll > LOCK_POLL_S:
            self._lock_poll = now
            runs, self.elsewhere = self.elsewhere, []
            for run in runs:
                locked = is_locked(RunFolder(self.settings.results, run.key).path)
                (self.elsewhere.append if locked else self.queue.put_back)(run)
        return True

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Ask the workers to stop, from the loop; at a second signal end them and this process."""
        if self.summary.signal is None:
            self.summary.signal = number
            return
        for worker in self.workers.values():
            worker.process.kill()
        raise SystemExit(128 + number)


def _note(run: RunFolder, status: Status, text: str) -> None:
    """Write the state that the dead worker could not write; it decides nothing."""
    with suppress(ResbenchError):
        if run.path.is_dir() and (lock := try_lock(run.path)):
            with lock:
                write_state(run, status, reason=text)
