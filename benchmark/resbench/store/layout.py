"""Where things lie in a results folder, and the rule that nothing leaves it.

``DIR/resbench.json`` says which format the folder has; ``DIR/runs/<first 16 hex digits of the
key>/`` is one run: ``spec.json`` first, ``record.json`` last. Names are made here only, from keys.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from resbench.errors import EnvironmentFault, UsageError
from resbench.store.atomic import (
    UNSWEPT,
    dump_json,
    fault,
    faults_at,
    fsync_path,
    load_object,
    read_file,
    write_atomic,
)
from resbench.store.locks import try_lock, wait_lock

FORMAT = 1
"""Version of everything below a results folder."""

MARKER = "resbench.json"
"""The small file that says which format the folder has."""

ASIDE = ".aside-"
"""Start of the name of an unfinished run while a merge puts the finished one in its place."""

RESULTS = Path("results")
"""The folder that every command takes by default."""
RUN_NAME = re.compile(r"[0-9a-f]{16}")
_KEY = re.compile(r"[0-9a-f]{16}([0-9a-f]{48})?")
_PROBE = bytes(1 << 16)


def require_folder(path: Path) -> None:
    """Refuse anything but a real folder: a link could lead out of the results folder."""
    with faults_at(path):
        mode = path.lstat().st_mode
    if not stat.S_ISDIR(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "not a folder"
        raise EnvironmentFault(f"{path}: {kind}; runs lie in real folders only. Remove it.")


def what_is(path: Path) -> str:
    """Name what lies where a folder is needed."""
    if os.path.islink(path) and not os.path.exists(path):
        return f"a link to {os.readlink(path)}, which is not there"
    return "a file"


class _File:
    """A file of a run, as an attribute of its folder."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: RunFolder, _: type | None = None) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run; ``key`` is its 64 hex digits, or the 16 that name the folder."""

    results: Path
    key: str

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise UsageError(f"run key {self.key!r}: 64 (or the first 16) hex digits are needed.")

    @cached_property
    def path(self) -> Path:
        """The folder."""
        return self.results / "runs" / self.key[:16]

    # Written first: the specification, its key and context.
    spec = _File("spec.json")
    # A line for each epoch: numbers that a repetition reproduces, and measured times.
    metrics = _File("metrics.jsonl")
    timing = _File("timing.jsonl")
    # Per test image: predicted class, probability of the true class, label, which image it is.
    predictions = _File("predictions.npz")
    # The final weights, where they were kept; no pack, commit or report needs them.
    weights = _File("weights.safetensors")
    # Written last: its presence is the commit.
    record = _File("record.json")
    # The newest sealed training state, and the one before it.
    checkpoint = _File("checkpoint.bin")
    checkpoint_prev = _File("checkpoint.prev.bin")
    # What the run does now; never decides anything.
    state = _File("state.json")
    # The worker's output.
    log = _File("worker.log")

    def require(self) -> None:
        """Refuse a missing folder, and a link in its place."""
        require_folder(self.results / "runs")
        require_folder(self.path)

    def drop_checkpoints(self) -> None:
        """Remove what a recorded run needs no more; what cannot be removed costs space only."""
        for path in (self.checkpoint, self.checkpoint_prev):
            with suppress(OSError):
                path.unlink()

    def create(self) -> None:
        """Make the folder where it is missing."""
        for folder in (self.results / "runs", self.path):
            with faults_at(folder):
                try:
                    folder.mkdir()
                    fsync_path(folder.parent)
                except FileExistsError:
                    require_folder(folder)


def is_marked(results: Path) -> bool:
    """Say whether a folder has the marker of this format; another or a damaged one is a fault."""
    marker = results / MARKER
    there = os.path.lexists(marker)  # not where the folder itself is none
    data = read_file(marker, limit=1 << 16) if there else None
    if data is None:
        return False
    try:
        found = load_object(data).get("format")
    except ValueError as error:
        raise EnvironmentFault(
            f'{marker}: damaged ({error}). Restore it, or write {{"format": {FORMAT}}} into it.'
        ) from error
    if found == FORMAT:
        return True
    newer = isinstance(found, int) and found > FORMAT
    remedy = "Update resbench" if newer else "Use the resbench that wrote it"
    raise EnvironmentFault(
        f"{marker}: format {found!r}; this resbench knows format {FORMAT}. {remedy}, or choose "
        "another results folder."
    )


def may_be_results(folder: Path) -> bool:
    """Say whether an existing folder is one of results, or empty; others hold something else."""
    return is_marked(folder) or os.path.isdir(folder / "runs") or not os.listdir(folder)


def open_for_writing(results: Path) -> None:
    """Make and mark a folder, and show that it can be written, before any training.

    Where it cannot (not a folder, read-only, no space), the fault names the path and the user.
    """
    runs = results / "runs"
    try:
        results.mkdir(parents=True, exist_ok=True)
        is_marked(results)  # nothing is written into the folder of another format
        with tempfile.TemporaryFile(dir=results, prefix=UNSWEPT) as file:
            file.write(_PROBE)
            file.flush()
            os.fsync(file.fileno())
        with wait_lock(results):
            if not is_marked(results):  # by now: MLflow knows the folder by this very file
                write_atomic(results / MARKER, f"{dump_json({'format': FORMAT})}\n".encode())
        with suppress(FileExistsError):  # also where a link leads nowhere
            runs.mkdir()
        require_folder(runs)
        _recover(runs)
    except FileExistsError as error:
        raise EnvironmentFault(
            f"{results}: {what_is(results)}, not a results folder. Choose another with --results."
        ) from error
    except OSError as error:
        reason = fault(results, error)
        raise EnvironmentFault(f"results folder, user {_user()!r}: {reason}") from error


def _recover(runs: Path) -> None:
    """Put back what a killed merge had set aside, or finish removing it."""
    if (lock := try_lock(runs)) is None:
        return  # a merge is at work
    with lock:
        for aside in runs.glob(f"{ASIDE}*"):
            target = runs / aside.name.removeprefix(ASIDE)
            if os.path.lexists(target):
                shutil.rmtree(aside)
            else:
                aside.rename(target)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's number without a name
        return str(os.geteuid())
