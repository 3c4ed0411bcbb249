"""Jobs in, outcomes out: lock, load, train, and name whatever goes wrong."""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import torch

from resbench.data.images import Images
from resbench.data.sources import Source, load
from resbench.errors import EnvironmentFault, ResbenchError, StorageFault, UsageError
from resbench.store.job import Job, Outcome
from resbench.store.layout import RunFolder
from resbench.store.locks import try_lock
from resbench.store.records import read_record, write_spec
from resbench.store.state import Status, read_state, write_state
from resbench.suite.catalog import load_networks
from resbench.suite.spec import RunSpec, plain_to, specification
from resbench.train.control import Control, Interrupted, OutOfBudget
from resbench.train.determinism import find_device, set_up_device
from resbench.train.images import prepare_images
from resbench.train.lane import Lane
from resbench.train.loop import train
from resbench.train.track import Track

End = tuple[str, Outcome, str]
"""Key, outcome, and what to tell the user."""
NO_MEMORY = re.compile(
    r"can't allocate memory|out of memory|ALLOC_FAILED|std::bad_alloc"
    # What CUDA's libraries say when they find no room for their own workspaces.
    r"|[Uu]nable to find an engine|CUBLAS_STATUS_NOT_INITIALIZED"
    r"|CUDNN_STATUS_(NOT_INITIALIZED|INTERNAL_ERROR)"
    r"|could not create a primitive$"  # oneDNN has no room for the code that it generates
)
"""What libraries say, in a plain RuntimeError, when memory does not suffice."""


class _Shared(EnvironmentFault):
    """The device or the data set: every run of the plan would meet it too."""


def run_group(jobs: list[Job], control: Control) -> list[End]:
    """Run jobs of one architecture together, or a single one; return how each ended."""
    control.deadline = jobs[0].deadline
    ends: list[End] = []
    tracks: list[Track] = []
    with ExitStack() as held:
        for job in jobs:
            entered = _enter(job, control, held)
            if isinstance(entered, Track):
                tracks.append(entered)
            else:
                ends.append(entered)
        ends += _train(tracks, control)
    del tracks
    _free_memory()
    return ends


def _enter(job: Job, control: Control, held: ExitStack) -> Track | End:
    """Lock a run's folder and take up the run where it stands."""
    folder = RunFolder(Path(job.results), job.key)
    try:
        folder.create()
        lock = try_lock(folder.path)
        if lock is None:
            return job.key, "locked", "another process is at it"
        held.enter_context(lock)
        held.enter_context(_log_to(folder.log))
    except (ResbenchError, OSError) as error:
        return job.key, *_outcome(error, control)
    try:
        if folder.record.exists():
            return job.key, read_record(folder).status, "already recorded"
        return _take_up(job, folder, control)
    except Exception as error:
        outcome, text = _outcome(error, control)
        state = read_state(folder)
        _note(folder, outcome, state.epoch if state else 0, text)
        return job.key, outcome, text


def _take_up(job: Job, folder: RunFolder, control: Control) -> Track:
    device, spec = _device(job), _spec(job)
    write_spec(folder, job.spec, job.context)
    images = prepare_images(spec, _load(json.dumps(job.source, sort_keys=True)))
    track = Track(job, folder, Lane(spec, images, device), control.emit)
    track.resume()
    write_state(folder, Status.RUNNING, epoch=track.done_epochs)
    return track


def _train(tracks: list[Track], control: Control) -> list[End]:
    """Train tracks to their ends, those together that start at one epoch and can share a graph."""
    groups: dict[int, list[Track]] = {}
    for track in tracks:
        groups.setdefault(track.done_epochs, []).append(track)
    ends: list[End] = []
    for together in groups.values():
        why: tuple[Outcome, str] = ("failed", "")
        try:
            train(together, control)
        except Exception as error:
            why = _outcome(error, control)
        ends += [_end(track, *why) for track in together]
    return ends


def _end(track: Track, outcome: Outcome, text: str) -> End:
    """Note how a track ended: as it says itself, or else as what stopped the training says."""
    if track.outcome is not None:
        outcome, text = track.outcome, str(track.diverged or "")
    elif outcome in ("interrupted", "budget"):
        text = track.where
    _note(track.folder, outcome, track.done_epochs, text)
    return track.key, outcome, text


def _device(job: Job) -> torch.device:
    """Return the job's device, with this process prepared for it."""
    try:
        device = find_device(job.device, job.spec["precision"])
        set_up_device(device, job.threads)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)  # what earlier runs of the process needed
    except EnvironmentFault as error:
        raise _Shared(str(error)) from error
    return device


def _spec(job: Job) -> RunSpec:
    if job.networks is None:
        return plain_to(RunSpec, job.spec)
    family = load_networks(Path(job.networks))
    if family.code != job.spec["model"]["code"]:
        raise UsageError(f"{job.networks}: has changed since this run was planned. Run again.")
    return plain_to(specification(family.network), job.spec)


@lru_cache(maxsize=2)
def _load(source_json: str) -> Images:
    """Load a data set once for all jobs of this process."""
    fields = json.loads(source_json)
    path = fields.pop("path")
    try:
        return load(Source(**fields, path=Path(path) if path is not None else None))
    except EnvironmentFault as error:
        raise _Shared(str(error)) from error


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Send standard error, also that of native code, to a run's log."""
    log = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666
    )
    before = os.dup(2)
    try:
        os.dup2(log, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(log)
        os.close(before)


def _note(folder: RunFolder, outcome: Outcome, epoch: int, text: str) -> None:
    """Write the state of a run whose lock is held."""
    status = Status.INTERRUPTED if outcome == "budget" else Status(outcome)
    with suppress(ResbenchError):  # the disk refuses; the end is told to the parent all the same
        write_state(folder, status, epoch=epoch, reason=text or None)


def _outcome(error: Exception, control: Control) -> tuple[Outcome, str]:
    """Return what an error makes of a run; tell the parent what every run would meet."""
    if isinstance(error, Interrupted):
        return "interrupted", ""
    if isinstance(error, OutOfBudget):
        return "budget", ""
    if isinstance(error, StorageFault | _Shared):
        control.emit({"event": "fault", "keys": [], "text": str(error)})
    if isinstance(error, ResbenchError):
        return "failed", str(error)
    name, line = type(error).__name__, next(iter(str(error).splitlines()), "")
    if _out_of_memory(error):
        return "oom", line or name
    traceback.print_exception(error)
    what = line if isinstance(error, ValueError) else ": ".join(filter(None, (name, line)))
    return "failed", f"{what} (see its log)"


def _out_of_memory(error: BaseException | None) -> bool:
    """Say whether memory ran out; the end of a failed capture hides that behind its own error."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        text = str(error)
        if isinstance(error, RuntimeError) and NO_MEMORY.search(text):
            return True
        error = error.__cause__ or error.__context__
    return False


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_initialized():
        with suppress(RuntimeError):  # an error before has left no context to free anything in
            torch.cuda.empty_cache()
