"""A worker that speaks the line protocol and trains nothing; its standard input says what to do.

``python fake_worker.py FOLDER [BEHAVIOUR...]``: runs of seed 1, 2, ... behave as the first, second,
... behaviour says, the rest is done; ``cuda:0=lost`` is one of a device: ``lost``, ``dies``,
``aborts``. Every attempt is a line in ``FOLDER/attempts``; ``FOLDER/words`` is what the log of a
run says last that aborts.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from msgspec.structs import replace

from resbench.protocol import (
    AtStep,
    End,
    Epoch,
    Event,
    Fault,
    Idle,
    Job,
    Ready,
    Unfit,
    Warned,
    decode_jobs,
    encode,
)  # fmt: skip
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, EpochTiming
from resbench.store.state import Status

folder = Path(sys.argv[1])
behaviours = [word for word in sys.argv[2:] if "=" not in word]
of_devices = dict(word.split("=") for word in sys.argv[2:] if "=" in word)
ECC = "CUDA error: uncorrectable ECC error encountered"
stopped = False
METRICS = EpochMetrics(
    epoch=1, step=4, lr=0.1, train_loss=1.0, train_top1_err=20.0, test_loss=1.0, test_top1_err=12.5
)
TIMING = EpochTiming(epoch=1, images_per_s=100.0, duration_s=2.0, eval_s=1.0)


def stop(number: int, _: object) -> None:
    global stopped
    if stopped:
        os._exit(128 + number)
    stopped = True


def emit(event: Event) -> None:
    sys.stdout.buffer.write(encode(event))
    sys.stdout.buffer.flush()


def end(job: Job, status: str, text: str = "") -> None:
    emit(End(job.key, Status(status), text))


def run(job: Job, packed: int) -> None:
    seed = job.spec["seed"]
    with (folder / "attempts").open("a") as attempts:
        attempts.write(f"{os.getpid()} {seed} {job.key}\n")
    behaviour = behaviours[seed - 1] if seed <= len(behaviours) else "done"
    behaviour = "done" if behaviour in ("kill at start", "crowded") else behaviour
    if (fault := of_devices.get(job.device)) == "aborts":
        behaviour = "abort"
    while behaviour == "captures":
        time.sleep(0.01)
    emit(AtStep(job.key, 1, 8))
    emit(Epoch(job.key, 2, 8, METRICS, replace(TIMING, packed=packed)))
    if fault == "lost":
        emit(Unfit(ECC))
        end(job, "failed", f"RuntimeError: {ECC} (see its log)")
        sys.exit()
    elif fault == "dies":
        sys.exit(ECC)
    elif behaviour == "for a GPU" and job.device == "cpu":
        emit(Unfit("device: cuda -> cpu", job.key))
        end(job, "failed", "device: cuda -> cpu")
    elif behaviour in ("for a GPU", "done", "diverged", "oom", "failed", "interrupted"):
        done = behaviour in ("for a GPU", "done")
        end(job, "done" if done else behaviour, "" if done else f"because {behaviour}")
    elif behaviour == "locked once":
        mark = folder / f"seen-{seed}"
        end(job, "done" if mark.exists() else "running")
        mark.touch()
    elif behaviour == "fault":
        while len((folder / "attempts").read_text().splitlines()) < 2:
            time.sleep(0.01)  # so that there is another one to stop
        emit(Fault("the disk is full"))
        end(job, "failed", "the disk is full")
    elif behaviour == "warn":
        emit(Warned(job.key, "something is odd"))
        end(job, "done")
    elif behaviour == "abort":
        if (words := folder / "words").exists():
            with RunFolder(job.results, job.key).log.open("a") as log:
                log.write(words.read_text())
        os.abort()
    elif behaviour == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif behaviour == "terminated":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    elif behaviour == "exit":
        sys.exit("cannot go on")
    elif behaviour == "mute":  # no GPU worker goes on after a failure
        end(job, "failed", "CUDA error")
        sys.exit()
    else:
        assert behaviour == "obedient"
        while not stopped:
            time.sleep(0.01)
        time.sleep(1)  # a write to finish: a second request to stop would end it here
        end(job, "interrupted", "after epoch 1 of 2")


signal.signal(signal.SIGTERM, stop)
if behaviours == ["no start"]:
    sys.exit("ImportError: libcudart.so is missing")
if behaviours == ["kill at start"] and not (folder / "started").exists():
    (folder / "started").touch()
    os.kill(os.getpid(), signal.SIGKILL)
emit(Ready())
for line in sys.stdin.buffer:
    jobs = decode_jobs(line)
    if len(jobs) > 1 and "crowded" in behaviours:  # as every worker after such an end
        for job in jobs:
            end(job, "oom", "CUDA out of memory.")
        break
    for job in jobs:
        run(job, len(jobs))
    if stopped:
        break
    emit(Idle())
