"""Jobs in, outcomes out: lock, load, train, and name whatever goes wrong."""

from __future__ import annotations

import gc
import json
import os
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from resbench.data.images import Images
from resbench.data.sources import Source, load
from resbench.errors import ResbenchError, StorageFault
from resbench.store.atomic import sweep
from resbench.store.job import Job, Outcome
from resbench.store.layout import RunFolder
from resbench.store.locks import try_lock
from resbench.store.records import read_record, write_spec
from resbench.store.state import Status, write_state
from resbench.suite.spec import RunSpec
from resbench.train.calibrate import calibrate
from resbench.train.control import Control, Interrupted, OutOfBudget
from resbench.train.determinism import find_device, prepare
from resbench.train.images import prepare as prepare_images
from resbench.train.lane import Lane
from resbench.train.loop import train
from resbench.train.track import Track

End = tuple[str, Outcome, str]
"""Key, outcome, and what to tell the user."""
CALIBRATION_STEPS = {"cpu": 3, "cuda": 50}
STATUS: dict[str, Status] = {
    "oom": Status.OOM,
    "failed": Status.FAILED,
    "interrupted": Status.INTERRUPTED,
    "budget": Status.INTERRUPTED,
}


def run_group(jobs: list[Job], control: Control) -> Iterator[End]:
    """Run jobs of one architecture together, or a single one; yield how each ended.

    When memory does not suffice for all of them they are run one at a time.
    """
    ends = list(_attempt(jobs, control))
    if len(jobs) > 1 and any(outcome == "oom" for _, outcome, _ in ends):
        control.emit({"event": "warning", "keys": [job.key for job in jobs],
                      "text": f"not enough memory for {len(jobs)} runs at once; one at a time"})  # fmt: skip
        ends = [end for job in jobs for end in _attempt([job], control)]
    yield from ends


def measure(job: Job) -> dict[str, Any]:
    """Calibrate the kind of run that a job is; return the event with its speed."""
    text, rates = "", (0.0, 0.0)
    try:
        device = find_device(job.device)
        prepare(device, job.threads)
        steps = CALIBRATION_STEPS[device.type]
        rates = calibrate(_spec(job), device, steps)
    except (ResbenchError, RuntimeError, MemoryError) as error:
        text = _first_line(error)
    return {"event": "measured", "keys": [job.key], "text": text,
            "train_images_per_s": rates[0], "eval_images_per_s": rates[1]}  # fmt: skip


def _attempt(jobs: list[Job], control: Control) -> list[End]:
    """Try a group once; every job has exactly one end."""
    control.deadline = jobs[0].deadline
    ends: list[End] = []
    tracks: list[Track] = []
    with ExitStack() as locks:
        outcome: Outcome
        try:
            device = find_device(jobs[0].device)
            prepare(device, jobs[0].threads)
            for job in jobs:
                entered = _enter(job, device, control, locks)
                if isinstance(entered, Track):
                    tracks.append(entered)
                else:
                    ends.append(entered)
            for together in _same_epoch(tracks):
                train(together, control)
            outcome, text = "done", ""
        except Interrupted:
            outcome, text = "interrupted", "resumable from its last checkpoint"
        except OutOfBudget:
            outcome, text = "budget", "resumable"
        except ResbenchError as error:
            outcome, text = "failed", str(error)
            if isinstance(error, StorageFault):
                control.emit({"event": "fault", "keys": [job.key for job in jobs], "text": text})
        except (MemoryError, torch.OutOfMemoryError) as error:
            outcome, text = "oom", _first_line(error)
        except RuntimeError as error:
            outcome, text = _runtime_error(error)
        except Exception as error:
            traceback.print_exc()
            outcome, text = "failed", f"{type(error).__name__}: {_first_line(error)} (see its log)"
        ends += _close(jobs, {key for key, _, _ in ends}, tracks, outcome, text)
    del tracks
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return ends


def _enter(job: Job, device: torch.device, control: Control, locks: ExitStack) -> Track | End:
    """Lock a run's folder and take up the run where it stands."""
    folder = RunFolder(Path(job.results), job.key)
    folder.create()
    lock = try_lock(folder.path)
    if lock is None:
        return job.key, "locked", "another process is at it"
    locks.enter_context(lock)
    sweep(folder.path)
    locks.enter_context(_log_to(folder.log))
    if folder.record.exists():
        return job.key, read_record(folder).status, "already recorded"
    write_spec(folder, job.spec, job.context)
    spec = _spec(job)
    images = prepare_images(spec, _load(json.dumps(job.source, sort_keys=True)))
    track = Track(job, folder, Lane(spec, images, device), control.emit)
    track.resume()
    write_state(folder, Status.RUNNING, epoch=track.done_epochs)
    return track


def _spec(job: Job) -> RunSpec:
    return RunSpec.model_validate_json(json.dumps(job.spec), strict=True)


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Send standard error, also that of native code, to a run's log."""
    before = os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        os.dup2(log, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(log)
        os.close(before)


@lru_cache(maxsize=2)
def _load(source_json: str) -> Images:
    """Load a data set once for all jobs of this process."""
    fields = json.loads(source_json)
    path = fields.pop("path")
    return load(Source(**fields, path=Path(path) if path is not None else None))


def _same_epoch(tracks: list[Track]) -> list[list[Track]]:
    """Group tracks by the epoch they start from; only those can share a graph."""
    groups: dict[int, list[Track]] = {}
    for track in tracks:
        groups.setdefault(track.done_epochs, []).append(track)
    return list(groups.values())


def _close(
    jobs: list[Job], ended: set[str], tracks: list[Track], outcome: Outcome, text: str
) -> list[End]:
    """Give every job that has no end yet its end, and note it in the run's folder."""
    ends: list[End] = []
    by_key = {track.key: track for track in tracks}
    for job in jobs:
        if job.key in ended:
            continue
        track = by_key.get(job.key)
        if track is not None and track.outcome is not None:
            ends.append((job.key, track.outcome, ""))
            status = Status(track.outcome)
        else:
            ends.append((job.key, outcome, text))
            status = STATUS.get(outcome, Status.FAILED)
        _note(job, track, status, text)
    return ends


def _note(job: Job, track: Track | None, status: Status, text: str) -> None:
    folder = RunFolder(Path(job.results), job.key)
    try:
        write_state(folder, status, epoch=track.done_epochs if track else 0, reason=text or None)
    except ResbenchError:
        pass  # the disk refuses; the state decides nothing, and the end is told to the parent


def _runtime_error(error: RuntimeError) -> tuple[Outcome, str]:
    text = str(error)
    if "can't allocate memory" in text or "out of memory" in text:
        return "oom", _first_line(error)
    traceback.print_exc()
    return "failed", f"{_first_line(error)} (see its log)"


def _first_line(error: BaseException) -> str:
    lines: list[Any] = str(error).splitlines()
    return str(lines[0]) if lines else type(error).__name__
