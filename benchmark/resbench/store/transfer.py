"""Finished runs on their way between machines: one plain tar, checked whole before it is unpacked.

A pack comes from elsewhere and counts as hostile: names, types, sizes and digests of its files are
checked first, then every run as the scan of a results folder checks it. A pack at a URL (S3, HTTP,
SSH and whatever fsspec reaches) is copied to or from a local file, so that the same checks hold.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resbench.errors import EnvironmentFault, ResbenchError, UsageError
from resbench.store.atomic import (
    UNSWEPT,
    atomic_file,
    dump_json,
    faults_at,
    fsync_path,
    load_object,
    temporary_in,
)
from resbench.store.layout import (
    ASIDE,
    FORMAT,
    MARKER,
    RUN_NAME,
    RunFolder,
    is_marked,
    open_for_writing,
)
from resbench.store.locks import LOCK_NAME, try_lock
from resbench.store.metrics import EpochMetrics, EpochTiming, read_epochs
from resbench.store.records import RunRecord, read_record
from resbench.store.scan import run_names
from resbench.words import one_line

MANIFEST = "MANIFEST.json"
FILES = ("record.json", "spec.json", "metrics.jsonl", "timing.jsonl", "predictions.npz")
"""What a finished run consists of."""
MAX_BYTES = 64 << 20
"""The most that one file may have."""
FSYNCS_AT_ONCE = 8
_MEMBER = re.compile(rf"runs/{RUN_NAME.pattern}/({'|'.join(map(re.escape, FILES))})")


class Refused(ResbenchError):
    """A pack, or a run in it, is not what :func:`pack` writes; the text says where it departs."""


@dataclass
class MergeReport:
    """Run names (16 hex digits); refused ones, or whole packs, with the reason in words."""

    added: list[str] = field(default_factory=list)
    identical: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def pack(results: Path, out: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Write the finished runs of ``results`` to the tar ``out``; same runs, same bytes.

    Returns the names of the runs in it, and the other runs with the reason. Without a finished run
    nothing is written; an EnvironmentFault leaves an older file of that name.
    """
    is_marked(results)
    packed, skipped = [], []
    for name in run_names(results):
        try:
            run = RunFolder(results, name)
            run.require()
            _read_sound(run)
            packed.append(run)
        except ResbenchError as error:
            skipped.append((name, one_line(error)))
    if packed:
        _write(out, [run.path / name for run in packed for name in FILES])
    return [run.key for run in packed], skipped


def _read_sound(run: RunFolder) -> RunRecord:
    """Return the record of a run whose files are all as they have to be."""
    record = read_record(run)
    read_epochs(run.metrics, EpochMetrics)
    if not run.timing.is_symlink():  # links stay where they are
        read_epochs(run.timing, EpochTiming)
    return record


def _write(out: Path, paths: list[Path]) -> None:
    def add(name: str, content: bytes) -> None:
        header = tarfile.TarInfo(name)  # owner 0, time 0, mode 0644
        header.size = len(content)
        tar.addfile(header, io.BytesIO(content))

    files = (path for path in paths if path.is_file() and not path.is_symlink())
    named = {f"runs/{path.parent.name}/{path.name}": path for path in files}
    listed = {name: _digest(path.read_bytes()) for name, path in named.items()}
    with (
        atomic_file(out, UNSWEPT) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        add(MANIFEST, dump_json({"format": FORMAT, "files": listed}, indent=1).encode())
        for name, path in named.items():
            add(name, path.read_bytes())


def _digest(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def merge(results: Path, archives: Sequence[Path]) -> MergeReport:
    """Add the runs of packs to ``results``.

    A finished run takes the place of an unfinished one of its key. Of two finished runs the one
    that is here stays: ``identical`` when its deterministic numbers are the same, else ``refused``
    with what differs. A results folder that would gain nothing is not made. What was added before
    an EnvironmentFault (a pack that cannot be opened, another merge) stays added.
    """
    report = MergeReport()
    is_new = not os.path.lexists(results)
    open_for_writing(results)
    lock = try_lock(results / "runs", tries=200)  # a `run` that starts holds it for a moment
    if lock is None:
        raise EnvironmentFault(f"{results}: another merge works here. Wait for its end.")
    try:
        with lock, faults_at(results):
            for archive in archives:
                _merge_one(results, archive, report)
    finally:
        made_here = {MARKER, LOCK_NAME, "runs"}  # a run that starts may have added files
        if is_new and made_here.issuperset(os.listdir(results)) and not run_names(results):
            shutil.rmtree(results)
    return report


def _unpack(archive: Path, staging: Path) -> list[str]:
    """Write the files of a pack, and return the names of its runs; Refused unless all is right."""
    files = []
    with faults_at(archive):
        file = archive.open("rb")
    try:
        with file, tarfile.open(fileobj=file, mode="r:") as tar:
            for name, content in _members(tar):
                # Not tar.extract: the owner, mode and time of another machine are of no use here.
                path = staging / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                files.append(path)
    except (tarfile.TarError, ValueError, RecursionError) as error:  # the last: nested headers
        raise Refused(f"damaged, truncated or not a plain tar ({error})") from error
    # On the disk before a folder gets its name. One by one, each would wait for the disk.
    with ThreadPoolExecutor(FSYNCS_AT_ONCE) as pool:
        list(pool.map(fsync_path, [*files, *{path.parent for path in files}]))
    return sorted({path.parent.name for path in files})


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents, each checked, of files that :func:`pack` writes and no other.

    So no path leads out of its folder, and no link, device or sparse file gets in.
    """
    listed: dict[str, Any] | None = None
    for member in iter(tar.next, None):  # one by one: a negative size would turn the reader back
        name, kind = member.name, member.type
        if listed is None and name != MANIFEST:
            raise Refused(
                f"not a pack, it does not begin with {MANIFEST}; `resbench pack` makes packs"
            )
        if kind != tarfile.REGTYPE or member.pax_headers or not 0 <= member.size <= MAX_BYTES:
            raise Refused(f"{name!r} is not a plain file of at most {MAX_BYTES >> 20} MiB")
        file = tar.extractfile(member)
        assert file is not None, "a plain file has content"
        content = file.read()
        if listed is None:
            listed = _manifest(content)
        elif name not in listed or not _MEMBER.fullmatch(name):
            raise Refused(f"{name!r} is in it twice, not in its manifest, or not a file of a run")
        elif listed.pop(name) != _digest(content):
            raise Refused(f"{name!r} does not fit the sha256 and size in the manifest")
        else:
            yield name, content
    if listed is None or listed:
        raise Refused(f"{min(listed)!r} is in its manifest only" if listed else "it is empty")


def _manifest(data: bytes) -> dict[str, Any]:
    try:
        manifest = load_object(data)
    except ValueError as error:
        raise Refused(f"{MANIFEST}: {error}") from error
    given, files = manifest.get("format"), manifest.get("files")
    if given != FORMAT or not isinstance(files, dict):
        raise Refused(f"{MANIFEST}: format {given!r}; this resbench reads {FORMAT}")
    return files


def _merge_one(results: Path, archive: Path, report: MergeReport) -> None:
    staging = temporary_in(results / "runs")
    try:
        for name in _unpack(archive, staging):
            try:
                is_new = _admit(RunFolder(staging, name), RunFolder(results, name))
                (report.added if is_new else report.identical).append(name)
            except ResbenchError as error:
                reason = str(error).replace(f"{staging}/runs", str(archive))
                report.refused.append((name, one_line(reason)))
        fsync_path(results / "runs")
    except Refused as error:
        report.refused.append((str(archive), one_line(error)))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _admit(staged: RunFolder, here: RunFolder) -> bool:
    """Move a sound run in and return True; False when it is here; raise Refused when it differs."""
    theirs = _read_sound(staged)
    if not os.path.lexists(here.path):
        os.rename(staged.path, here.path)
        return True
    here.require()
    lock = try_lock(here.path)
    if lock is None:
        raise Refused("is being trained here now; merge again when it has ended")
    with lock:
        if os.path.lexists(here.record):
            from resbench.store.verify import differences  # numpy: light verbs start without it

            ours = read_record(here)
            if found := differences((here, ours), (staged, theirs)):
                where = (ours.environment, theirs.environment)
                a, b = (f"{x.device_name}, torch {x.torch}" for x in where)
                raise Refused(
                    f"this folder has it with other numbers: {'; '.join(found)} (trained on {a} "
                    f"here, on {b} in the pack). The run here stays; remove it first to take the "
                    "packed one"
                )
            return False
        aside = here.path.with_name(f"{ASIDE}{here.path.name}")
        os.rename(here.path, aside)
        os.rename(staged.path, here.path)
        fsync_path(here.path.parent)
    shutil.rmtree(aside)  # now that the lock in it is closed: NFS keeps a name for an open file
    return True


@contextmanager
def local_file(place: str, *, read: bool) -> Iterator[Path]:
    """Give a path, or a local file for a URL: its copy, or what is copied there in the end.

    Raises:
        UsageError: fsspec does not know such a URL.
        EnvironmentFault: it cannot be read, or written.
    """
    if "://" not in place:
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="resbench-") as folder:
        local = Path(folder, place.rpartition("/")[2] or "pack.tar")
        if read:
            _copy(place, local, read=True)
        yield local
        if not read:
            _copy(place, local, read=False)


def _copy(url: str, local: Path, *, read: bool) -> None:
    import fsspec

    try:
        with (
            fsspec.open(url, "rb" if read else "wb") as remote,
            local.open("wb" if read else "rb") as file,
        ):
            shutil.copyfileobj(*((remote, file) if read else (file, remote)))
    except (ValueError, ImportError) as error:  # unknown, or its package is not installed
        extra = " `pip install 'resbench[s3]'` adds S3." if url.startswith("s3:") else ""
        raise UsageError(f"{url}: {one_line(error).rstrip('.')}.{extra}") from error
    except Exception as error:  # each file system of fsspec has errors of its own
        raise EnvironmentFault(
            f"{url}: cannot be {'read' if read else 'written'}: "
            f"{one_line(error).rstrip('.') or type(error).__name__}. "
            "Check the address and your access to it, and run again."
        ) from error
