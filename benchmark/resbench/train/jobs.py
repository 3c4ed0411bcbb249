"""Jobs in, ends out: lock, load, train, and name whatever goes wrong."""

from __future__ import annotations

import errno
import gc
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache

import torch

from resbench.data.sources import load
from resbench.errors import EnvironmentFault, ResbenchError, StorageFault, UsageError
from resbench.protocol import DEVICE_FAULT, End, Fault, Job, Unfit
from resbench.store.atomic import faults_at
from resbench.store.layout import RunFolder
from resbench.store.locks import try_lock
from resbench.store.records import read_record, write_spec
from resbench.store.state import Status, write_state
from resbench.suite.load import load_networks
from resbench.suite.spec import RunSpec, plain_to, specification
from resbench.train.attempt import Attempt
from resbench.train.control import Control, Interrupted
from resbench.train.environment import find_device, set_up_device
from resbench.train.lane import Lane
from resbench.train.loop import train
from resbench.train.prepare import prepare_images

NO_MEMORY = re.compile(
    r"can't allocate memory|out of memory|ALLOC_FAILED|std::bad_alloc"
    r"|could not create a primitive$"  # oneDNN has no room for the code that it generates
    r"|NVML_SUCCESS == .*CachingAllocator"  # torch has no NVML to ask for the numbers of its text
)
"""What libraries say, in a plain RuntimeError, when memory does not suffice."""
NO_ROOM = re.compile(
    r"[Uu]nable to find an engine|CUBLAS_STATUS_NOT_INITIALIZED"
    r"|CUDNN_STATUS_(NOT_INITIALIZED|INTERNAL_ERROR)"
)
"""What CUDA's libraries say when they find no room for their workspaces, and at other times."""
ROOM_BYTES = 2 << 30
"""With more than this free on the GPU, memory is not what they lack."""
_load = lru_cache(maxsize=2)(load)  # a data set, once for all jobs of this process


def run_group(jobs: list[Job], control: Control) -> list[End]:
    """Run jobs of one architecture together, or a single one; return how each ended."""
    control.deadline = jobs[0].deadline
    ends: list[End] = []
    attempts: list[Attempt] = []
    with ExitStack() as held:
        for job in jobs:
            entered = _enter(job, control, held, attempts[0].lane if attempts else None)
            if isinstance(entered, Attempt):
                attempts.append(entered)
            else:
                ends.append(entered)
        ends += _train(attempts, control)
    del attempts
    free_memory()
    return ends


def _enter(job: Job, control: Control, held: ExitStack, like: Lane | None) -> Attempt | End:
    """Lock a run's folder, and start or resume the run, with the images of ``like``."""
    folder = RunFolder(job.results, job.key)
    locked = False
    with ExitStack() as logged:
        try:
            folder.create()
            lock = try_lock(folder.path)
            if lock is None:
                return End(job.key, Status.RUNNING, "another process is training this run")
            held.enter_context(lock)
            logged.enter_context(_log_to(folder))
            locked = True
            if folder.record.exists():
                status = Status(read_record(folder).status)
                folder.drop_checkpoints()  # a killed worker may not have come to it
                return End(job.key, status, "already recorded")
            return _resume(job, folder, control, like)
        except Exception as error:
            end = End(job.key, *_cause(error, control))
            if locked:
                _note(folder, end, None)
            return end


def _resume(job: Job, folder: RunFolder, control: Control, like: Lane | None) -> Attempt:
    write_spec(folder, job.spec, job.context)  # first, so that the folder says which run it is
    with _reported(Unfit, control):
        device = _device(job)
    spec = _spec(job)
    with _reported(Fault, control):
        images = _load(job.source)
    lane = Lane(spec, prepare_images(spec, images), device, like)
    attempt = Attempt(job, folder, lane, control.emit)
    attempt.resume()
    write_state(folder, Status.RUNNING, epoch=attempt.counters.epoch)
    return attempt


@contextmanager
def _reported(what: type[Fault | Unfit], control: Control) -> Iterator[None]:
    """Report to the parent what would stop every run, or every run on this device."""
    try:
        yield
    except EnvironmentFault as error:
        control.emit(what(str(error)))
        raise


def _train(attempts: list[Attempt], control: Control) -> list[End]:
    """Train to the end, together what starts at one epoch and can share a graph.

    After an error no CUDA context is sound: what has not started by then is left to a new process.
    """
    groups: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        groups.setdefault(attempt.counters.epoch, []).append(attempt)
    ends, is_sound = list[End](), True
    for together in groups.values():
        why = Status.INTERRUPTED, ""
        with ExitStack() as logged:
            try:
                if is_sound:
                    logged.enter_context(_log_to(*(attempt.folder for attempt in together)))
                    train(together, control)
            except Exception as error:
                why = _cause(error, control)
                is_sound = not why[0].is_failure
        ends += [_end(attempt, *why) for attempt in together]
    return ends


def _end(attempt: Attempt, status: Status, text: str) -> End:
    """Note how an attempt ended: as it says itself, or else as what stopped the training says."""
    epoch = attempt.counters.epoch if attempt.end else attempt.saved_epoch
    if status is Status.INTERRUPTED:
        text = f"after epoch {epoch} of {attempt.lane.steps.epochs}"
    end = attempt.end or End(attempt.key, status, text)
    _note(attempt.folder, end, epoch)
    return end


def _device(job: Job) -> torch.device:
    """Return the job's device, with this process prepared for it."""
    device = find_device(job.device, job.spec["precision"])
    set_up_device(device, threads=1)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # what earlier runs of the process needed
    return device


def _spec(job: Job) -> RunSpec:
    if job.networks is None:
        return plain_to(RunSpec, job.spec)
    family = load_networks(job.networks)
    if family.code != job.spec["model"]["code"]:
        raise UsageError(f"{job.networks}: has changed since this run was planned. Run again.")
    return plain_to(specification(family.network), job.spec)


@contextmanager
def _log_to(run: RunFolder, *packed: RunFolder) -> Iterator[None]:
    """Send all output, also that of native code, to a run's log; of a pack, the others name it."""
    for other in packed:
        with suppress(OSError), os.fdopen(_open_log(other), "w") as file:
            print(f"trained together with run {run.key[:16]}, whose log has all output", file=file)
    with faults_at(run.log):
        log = _open_log(run)
    before = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in before:
            os.dup2(log, number)
        yield
    finally:
        with suppress(OSError, ResbenchError):
            sys.stdout.flush()  # what a user's network has printed
        for number, descriptor in before.items():
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(log)


def _open_log(run: RunFolder) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    return os.open(run.log, flags, 0o666)


def _note(folder: RunFolder, end: End, epoch: int | None) -> None:
    """Write the state of a run whose lock is held; an orderly stop needs no reason."""
    reason = None if end.status is Status.INTERRUPTED else end.text or None
    with suppress(ResbenchError):  # the disk refuses; the parent hears of the end all the same
        write_state(folder, end.status, epoch=epoch, reason=reason)


def _cause(error: Exception, control: Control) -> tuple[Status, str]:
    """Return what an error makes of a run; report to the parent what would stop other runs."""
    if isinstance(error, Interrupted):
        return Status.INTERRUPTED, ""
    if isinstance(error, StorageFault):
        control.emit(Fault(str(error)))
    if isinstance(error, ResbenchError):
        return Status.FAILED, str(error)
    name, line = type(error).__name__, next(iter(str(error).strip().splitlines()), "")
    traceback.print_exception(error)
    if lost := _device_fault(error):
        control.emit(Unfit(lost))
    elif _out_of_memory(error):
        return Status.OOM, line or name
    what = line if isinstance(error, ValueError) else ": ".join(filter(None, (name, line)))
    return Status.FAILED, f"{what} (see its log)"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those behind it: the end of a failed capture hides why it failed."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _device_fault(error: BaseException) -> str | None:
    """Return what CUDA says of the device, where that is at fault."""
    lines = (str(one).partition("\n")[0] for one in _chain(error) if isinstance(one, RuntimeError))
    return next(filter(DEVICE_FAULT.search, lines), None)


def _out_of_memory(error: BaseException) -> bool:
    """Say whether memory ran out."""
    return any(
        isinstance(one, MemoryError | torch.OutOfMemoryError)
        or (isinstance(one, OSError) and one.errno == errno.ENOMEM)
        or (isinstance(one, RuntimeError) and NO_MEMORY.search(str(one)))
        or (isinstance(one, RuntimeError) and NO_ROOM.search(str(one)) and _little_is_free())
        for one in _chain(error)
    )


def _little_is_free() -> bool:
    if not torch.cuda.is_initialized():
        return True
    with suppress(RuntimeError):  # an error before has left no context to ask
        return torch.cuda.mem_get_info()[0] < ROOM_BYTES
    return True


def free_memory() -> None:
    """Free what runs before have left on the GPU; none of their graphs may be replayed again."""
    gc.collect()  # graphs refer to themselves
    if torch.cuda.is_initialized():
        with suppress(RuntimeError):  # an error before has left no context to free anything in
            # torch keeps 32 MiB for cuBLAS by thread and stream, and each graph has new streams.
            torch._C._cuda_clearCublasWorkspaces()
            torch.cuda.empty_cache()
