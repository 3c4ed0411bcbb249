"""``python failing_worker.py FAULTS``: the real worker, except for what happens to certain runs.

FAULTS is a JSON object: run key -> ``abort``, ``hang`` (at a step), ``starve`` (asks for more
memory than there are addresses, at its first step), ``dawdle`` (trains two epochs in this process,
then waits to be stopped), ``mute`` (is killed once the run has its record);
``{"*": "forget"}``: epochs are seeded by their number in this process, not in the run;
``{"cuda:0": TEXT}``: CUDA devices are a CPU that goes by their name, and this one raises TEXT at a
step.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

import numpy.random  # noqa: F401 - a library that cannot be loaded is another fault
import torch

from resbench.protocol import End, Job
from resbench.suite.spec import derive_seed
from resbench.train import attempt, jobs, lane, serve
from resbench.train.control import Control
from resbench.train.environment import signature

STEP = 5
"""Counted from 0: within the third epoch."""
faults: dict[str, str] = json.loads(sys.argv[1])
device_name = "cpu"
before_step, run_group = Control.before_step, jobs.run_group
steps_here = 0


def fail_at_step(control: Control, keys: list[str], total: int, step: int) -> None:
    global steps_here
    steps_here += 1
    fault = faults.get(keys[0]) if step >= STEP else None
    if fault == "abort":
        os.write(2, b"terminate called: native code gives up\n")
        os.abort()
    elif fault == "hang":
        while True:
            time.sleep(60)
    elif faults.get(keys[0]) == "starve":
        torch.empty(1 << 60, dtype=torch.uint8)
    elif faults.get(keys[0]) == "dawdle" and steps_here > STEP:
        while True:
            before_step(control, keys, total, step)
            time.sleep(0.01)
    elif step == STEP and (text := faults.get(device_name)):
        raise RuntimeError(text)
    before_step(control, keys, total, step)


def note_device(jobs: list[Job], control: Control) -> list[End]:
    global device_name
    device_name = jobs[0].device
    ends = run_group(jobs, control)
    if faults.get(jobs[0].key) == "mute":
        os.kill(os.getpid(), signal.SIGKILL)
    return ends


seen: list[int] = []


def forget(seed: int, purpose: Any, epoch: int | None = None) -> int:
    if epoch is None:
        return derive_seed(seed, purpose)
    if epoch not in seen:
        seen.append(epoch)
    return derive_seed(seed, purpose, seen.index(epoch) + 1)


Control.before_step = fail_at_step  # type: ignore[method-assign, assignment]
jobs.run_group = note_device
if faults.get("*") == "forget":
    lane.derive_seed = forget  # type: ignore[assignment]
if any(name.startswith("cuda") for name in faults):
    jobs.find_device = lambda *_: torch.device("cpu")
    attempt.signature = lambda *on: {**signature(*on), "device": device_name[:4]}
serve.main()
