"""The worker process, ``python -m resbench.train.serve``: jobs in, events out, a line each.

A line of standard input is a list of jobs that are trained together. ``ready`` says that the
process has started, ``idle`` that it takes the next line. It ends when its input ends or its parent
dies. Standard output carries events only; all else goes to standard error, which is the run's log.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys

from resbench.process import settle
from resbench.protocol import Event, Idle, Ready, decode_jobs, encode
from resbench.store.state import Status
from resbench.train.control import Control

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve jobs until the input ends, a signal comes, or the process is not sound any more."""
    settle()
    _die_with_parent()
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print() must not break the line protocol

    def emit(event: Event) -> None:
        try:
            events.write(encode(event))
            events.flush()
        except BrokenPipeError:  # the parent listens no more
            control.stop = True

    control = Control(emit)
    control.install()
    from resbench.train.environment import code_version
    from resbench.train.jobs import run_group  # torch, once for all jobs of this process

    code_version()  # of what was imported: files may change before the first record
    gc.freeze()  # its half a million objects are never garbage, and looking at them takes 0.1 s
    emit(Ready())
    for line in sys.stdin.buffer:
        jobs = decode_jobs(line)
        ends = run_group(jobs, control)
        for end in ends:
            emit(end)
        spoils = {Status.OOM} if jobs[0].device == "cpu" else {Status.OOM, Status.FAILED}
        if control.stop or any(end.status in spoils for end in ends):
            # No CUDA context is sound after an error, and oneDNN fails again where memory once did
            # not suffice for its code: the next run gets a new process.
            return
        emit(Idle())


def _die_with_parent() -> None:
    """Have the kernel end this process with its parent.

    Only Linux can. On other systems it stops at the first step whose event cannot be sent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    parent = os.environ.get("RESBENCH_PARENT")
    if parent is not None and int(parent) != os.getppid():
        sys.exit(1)  # it died before the call above


if __name__ == "__main__":
    main()
