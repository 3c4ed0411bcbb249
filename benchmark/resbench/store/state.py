"""What a run does now, for people and for ``status``; results never depend on it."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from resbench.errors import EnvironmentFault
from resbench.machine import slurm_job
from resbench.store.atomic import dump_json, load_object, read_file, write_atomic
from resbench.store.layout import RunFolder
from resbench.store.locks import is_locked


class Status(StrEnum):
    """The states of a run. One that runs ends in one of the others."""

    RUNNING = "running"
    # With a record, final.
    DONE = "done"
    DIVERGED = "diverged"
    # Stopped by a signal or the end of its time; resumes from its last checkpoint.
    INTERRUPTED = "interrupted"
    # Tried again by the next command, from its last checkpoint.
    OOM = "oom"
    FAILED = "failed"
    TIMEOUT = "timeout"

    @property
    def is_failure(self) -> bool:
        """Whether something went wrong that may go well another time."""
        return self in (Status.OOM, Status.FAILED, Status.TIMEOUT)


@dataclass(frozen=True)
class RunState:
    """``state.json``: who works or worked here, how far it came, why it stopped."""

    status: Status
    pid: int
    host: str
    epoch: Annotated[int, Meta(ge=0)]
    reason: str | None
    updated: str
    """UTC, ISO 8601; shown, never compared."""
    job: str | None = None
    """The Slurm job that it works or worked in."""


def write_state(
    run: RunFolder, status: Status, *, epoch: int | None = None, reason: str | None = None
) -> None:
    """Write this process's state of the run; the caller holds its lock.

    Without ``epoch`` the one that was there stays.
    """
    if epoch is None:
        before = read_state(run)
        epoch = before.epoch if before else 0
    updated = datetime.now(UTC).isoformat(timespec="seconds")
    state = RunState(status, os.getpid(), socket.gethostname(), epoch, reason, updated, slurm_job())
    write_atomic(run.state, f"{dump_json(asdict(state))}\n".encode())


def read_state(run: RunFolder) -> RunState | None:
    """Return the state as it is now; None where none is readable, for it decides nothing.

    A run left as running by a process that is gone is ``interrupted``.
    """
    try:
        fields = load_object(read_file(run.state, limit=1 << 20) or b"{}")
        state = msgspec.convert(fields, RunState)
    except (EnvironmentFault, ValueError):
        return None
    if state.status is Status.RUNNING and not is_locked(run.path):
        gone = f"process {state.pid} on {state.host} is gone"
        return replace(state, status=Status.INTERRUPTED, reason=gone)
    return state
