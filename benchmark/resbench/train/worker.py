"""The worker process: takes work on standard input, one line each, and answers with events.

A line is a list of jobs that are trained together. ``ready`` says that it has started,
``idle`` that it takes the next line.

Started by the runner as ``python -m resbench.train.worker``. It ends when its input ends or its
parent dies. Standard output carries events only; everything else goes to standard error, which the
runner keeps in a log.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

from resbench.process import settle
from resbench.store.job import Job
from resbench.train.control import Control

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve jobs until the input ends, a signal comes, or the process is not sound any more."""
    settle()
    _die_with_parent()
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a stray print() must not break the line protocol

    def emit(event: dict[str, Any]) -> None:
        events.write(json.dumps(event, allow_nan=False) + "\n")

    control = Control(emit)
    control.install()
    from resbench.train.run import run_group  # torch, once for all jobs of this process

    emit({"event": "ready"})
    for line in sys.stdin:
        jobs = [Job.parse(job) for job in json.loads(line)]
        ends = run_group(jobs, control)
        for key, outcome, text in ends:
            emit({"event": "end", "keys": [key], "outcome": outcome, "text": text})
        on_gpu = jobs[0].device != "cpu"
        spent = any(o == "oom" or (o == "failed" and on_gpu) for _, o, _ in ends)
        if control.stop or spent:
            # No CUDA context is sound after an error, and oneDNN fails again where memory once did
            # not suffice for its code: the next run gets a new process.
            return
        emit({"event": "idle"})


def _die_with_parent() -> None:
    """Have the kernel end this process with its parent; beyond Linux the input's end does."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    parent = os.environ.get("RESBENCH_PARENT")
    if parent is not None and int(parent) != os.getppid():
        sys.exit(1)  # it died before the call above


if __name__ == "__main__":
    main()
