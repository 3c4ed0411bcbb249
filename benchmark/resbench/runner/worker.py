"""One worker process as the parent sees it: jobs in, events out, and how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from resbench.machine import control_groups
from resbench.process import PYTHON, STOP_SIGNALS
from resbench.protocol import (
    DEVICE_FAULT,
    AtStep,
    End,
    Event,
    Idle,
    Job,
    Ready,
    decode_event,
    encode,
)
from resbench.runner.devices import Device
from resbench.runner.plan import PlannedRun
from resbench.store.layout import RunFolder
from resbench.store.state import Status

COMMAND = (*PYTHON, "-m", "resbench.train.serve")

ALLOCATOR = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=8589934592"
"""Huge pages, and freed memory kept for the next step: a CPU step is 7 to 12 % shorter, with the
same bits. Other C libraries ignore it."""


def worker_variables() -> dict[str, str]:
    """Return the variables of a process that trains, on one thread: runs are what is parallel."""
    return {
        "GLIBC_TUNABLES": ALLOCATOR,
        **os.environ,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as nvidia-smi numbers, by which a device is chosen
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "VECLIB_MAXIMUM_THREADS": "1",  # of Accelerate, which computes on a Mac
        # Two busy-waiting OpenMP teams on shared cores slow a step down twentyfold.
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONUNBUFFERED": "1",
    }


END_S = 30.0
"""A process has this long to end by itself, and as long again when it is killed."""


class Worker:
    """A process that trains one group of runs at a time and is used again for the next."""

    def __init__(self, device: Device) -> None:
        """Start it; OSError where the machine has no process, memory or room for one more."""
        self.device = device
        self.runs: list[PlannedRun] = []
        self.packed = 0
        """How many runs the group had that it was given last."""
        self.heard_at = time.monotonic()
        self.ready = False
        """Whether it has started up."""
        self.training = False
        """Whether it has taken a step of its group, and looks for stops and deadlines itself."""
        self.failed = False
        """Whether a run of its group has failed: it may leave the others to a new process."""
        self.stopped_at: float | None = None
        """When it was asked to stop."""
        self.killed_at: float | None = None
        self._idle = True
        self._killed_for: tuple[Status, str] | None = None
        self._logs: dict[str, tuple[Path, int]] = {}
        """Run key -> its log, and how long that was before this attempt."""
        self._oom_kills = oom_kills()
        self._buffer = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            self.process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,  # Ctrl-C is for the parent, which asks its workers to stop
                env={**worker_variables(), "RESBENCH_PARENT": str(os.getpid())},
            )
        except OSError:
            self._log.close()
            raise
        assert self.process.stdout is not None
        self.descriptor = self.process.stdout.fileno()
        os.set_blocking(self.descriptor, False)

    @property
    def busy(self) -> bool:
        """Whether it holds work, or has not said yet that it will take more."""
        return bool(self.runs) or not self._idle

    def start(self, runs: Sequence[PlannedRun], jobs: list[Job]) -> None:
        """Hand over a group of runs."""
        self.runs, self.packed = list(runs), len(runs)
        self.heard_at, self._idle = time.monotonic(), False
        self.training = self.failed = False
        self._oom_kills = oom_kills()
        logs = {job.key: RunFolder(job.results, job.key).log for job in jobs}
        self._logs = {
            key: (log, os.path.getsize(log) if os.path.isfile(log) else 0)
            for key, log in logs.items()
        }
        assert self.process.stdin is not None
        with suppress(OSError):  # it has just died; its runs are accounted for at its output's end
            self.process.stdin.write(encode(jobs))
            self.process.stdin.flush()

    def read(self) -> tuple[list[Event], bool]:
        """Return the events that have come, and whether the output has ended."""
        try:
            chunk = os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            return [], False
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        return [decode_event(line) for line in lines], not chunk

    def heard(self, event: Event) -> None:
        """Note what it said about itself."""
        self.heard_at = time.monotonic()
        self.ready = self.ready or isinstance(event, Ready)
        self.training = self.training or isinstance(event, AtStep)
        self._idle = self._idle or isinstance(event, Idle)
        self.failed = self.failed or (isinstance(event, End) and event.status.is_failure)

    def stop(self) -> None:
        """Ask it, once, to stop at the next step."""
        if self.stopped_at is None:
            self.stopped_at = time.monotonic()
            self.process.terminate()

    def kill(self, status: Status, reason: str) -> None:
        """End it at once; its runs end with ``status`` for this ``reason``."""
        self._killed_for, self.killed_at = (status, reason), time.monotonic()
        self.process.kill()

    def close(self) -> None:
        """Let it end, and collect its exit status."""
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()
        self._exit_code()
        self._log.close()

    def _exit_code(self) -> int | None:
        """Wait for its end, kill it if need be; return None where not even that ends it.

        A process that waits for a lost GPU in the kernel takes no signal.
        """
        for _ in range(2):
            with suppress(subprocess.TimeoutExpired):
                return self.process.wait(timeout=END_S)
            self.process.kill()
        return None

    def obituary(self) -> tuple[Status, str]:
        """Return status and text for the runs of a process that ended before them."""
        code = self._exit_code()
        if self._killed_for is not None:
            return self._killed_for
        if code is None:
            return Status.FAILED, "its worker does not end, not even by signal 9; its device hangs"
        if self.stopped_at is not None and abs(code) % 128 in STOP_SIGNALS:
            return Status.INTERRUPTED, "stopped; work since its last checkpoint is lost"
        if code == -signal.SIGKILL:
            if oom_kills() > self._oom_kills:
                return Status.OOM, "killed by signal 9: the kernel ended a process, out of memory"
            text = "killed by signal 9 from outside, as the kernel does when memory runs out"
            return Status.FAILED, text
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 4096))
        said = _telling_line(self._log.read())  # outside of a run
        return Status.FAILED, f"the worker ended with {how}" + (f": {said}" if said else "")

    @property
    def killed(self) -> bool:
        """Whether signal 9 ended it, which says nothing of whether another would start."""
        return self.process.poll() == -signal.SIGKILL

    def said_of(self, run: PlannedRun) -> str:
        """Return, to be added, the line of a run's log that tells most about its end, if any."""
        log, start = self._logs[run.key]
        with suppress(OSError), open(log, "rb") as file:
            file.seek(start)
            if line := _telling_line(file.read()):
                return f"; its log says: {line}"
        return ""


def _telling_line(log: bytes) -> str:
    """Return what says that the device is at fault, or what native code threw, or the last line."""
    lines = log.decode(errors="replace").strip().splitlines()
    of_device = filter(DEVICE_FAULT.search, lines)
    thrown = (line for line in lines if line.lstrip().startswith("what():"))
    return next(of_device, next(thrown, lines[-1] if lines else "")).strip()


def oom_kills() -> int:
    """Return how many processes of this control group the kernel has ended out of memory.

    0 where it does not say: without control groups, and in their root.
    """
    for group in control_groups("memory"):
        for name in ("memory.events", "memory.oom_control"):  # of versions 2 and 1
            with suppress(OSError, ValueError, IndexError):
                words = (group / name).read_text().split()
                return int(words[words.index("oom_kill") + 1])
    return 0
