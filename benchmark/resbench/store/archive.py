"""Runs on their way between machines: one plain tar, checked before anything is moved in."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from resbench.errors import EnvironmentFault, ResbenchError
from resbench.store.atomic import atomic_file, dump_json, fault, load_object
from resbench.store.layout import FORMAT, RUN_NAME, RunFolder
from resbench.store.locks import try_lock
from resbench.store.records import read_record, read_spec
from resbench.words import one_line

MANIFEST = "MANIFEST.json"
_MIB = 1 << 20
COMPLETE = {
    "record.json": 4 * _MIB,
    "spec.json": _MIB,
    "metrics.jsonl": 64 * _MIB,
    "timing.jsonl": 64 * _MIB,
    "predictions.npz": 64 * _MIB,
}
"""Files of a finished run and the most bytes that each may have."""
UNFINISHED = {
    "spec.json": _MIB,
    "metrics.jsonl": 64 * _MIB,
    "timing.jsonl": 64 * _MIB,
    "checkpoint.bin": 1 << 36,
    "checkpoint.prev.bin": 1 << 36,
}
"""The same for a run that can go on elsewhere."""
_LIMITS = COMPLETE | UNFINISHED
_MEMBER = re.compile(rf"runs/({RUN_NAME.pattern})/({'|'.join(map(re.escape, _LIMITS))})")
_BLOCK = tarfile.BLOCKSIZE


class Refused(Exception):
    """An archive is not what :func:`pack` writes; the text says where it departs."""


@dataclass(frozen=True)
class PackReport:
    """Folder names (16 hex digits) of packed runs; skipped ones with the reason."""

    packed: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def pack(results: Path, out: Path, *, include_checkpoints: bool = False) -> PackReport:
    """Write finished runs of ``results`` to the tar ``out``; the same runs give the same bytes.

    With ``include_checkpoints`` unfinished runs go along, except those being trained at this
    moment.

    Raises:
        EnvironmentFault: ``out`` cannot be written; an older file of that name stays.
    """
    chosen: dict[str, Path] = {}
    packed: list[str] = []
    skipped: list[tuple[str, str]] = []
    with ExitStack() as held:
        for name in _names(results):
            try:
                files = _files_of(RunFolder(results, name), include_checkpoints, held)
            except ResbenchError as error:
                skipped.append((name, one_line(error)))
                continue
            chosen |= {f"runs/{name}/{file.name}": file for file in files}
            packed.append(name)
        _write_tar(out, chosen)
    return PackReport(tuple(packed), tuple(skipped))


def _names(results: Path) -> list[str]:
    runs = results / "runs"
    try:
        return sorted(name for name in os.listdir(runs) if RUN_NAME.fullmatch(name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise fault(runs, error) from error


def _files_of(run: RunFolder, include_checkpoints: bool, held: ExitStack) -> list[Path]:
    run.require()
    if os.path.lexists(run.record):
        read_record(run)
        kinds = COMPLETE
    else:
        if not include_checkpoints or read_spec(run) is None:
            raise EnvironmentFault(f"{run.path}: not finished.")
        lock = try_lock(run.path)
        if lock is None:
            raise EnvironmentFault(f"{run.path}: is being trained now.")
        held.enter_context(lock)  # until the tar is written
        kinds = UNFINISHED
    files = (run.path / name for name in kinds)
    return [file for file in files if file.is_file() and not file.is_symlink()]


def _write_tar(out: Path, chosen: dict[str, Path]) -> None:
    listed = {name: _digest(path) for name, path in chosen.items()}
    manifest = dump_json({"format": FORMAT, "files": listed}, indent=1).encode()
    with (
        atomic_file(out) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        tar.addfile(_header(MANIFEST, len(manifest)), io.BytesIO(manifest))
        for name, path in chosen.items():
            with open(path, "rb") as source:
                tar.addfile(_header(name, listed[name]["size"]), source)


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)  # owner 0, time 0, mode 0644
    header.size = size
    return header


def _digest(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"sha256": digest, "size": file.tell()}
    except OSError as error:
        raise fault(path, error) from error


def unpack(archive: Path, folder: Path) -> list[str]:
    """Write the runs of ``archive`` to ``folder``/runs and return their names.

    Headers are read one by one, not by tarfile's reader: only plain files of the names that
    :func:`pack` writes pass, so links, devices, long-name and sparse extensions never act.

    Raises:
        Refused: anything is not as :func:`pack` writes it.
        EnvironmentFault: the archive cannot be opened.
        OSError: ``folder`` cannot be written.
    """
    names: set[str] = set()
    with _opened(archive) as file:
        members = _members(file)
        listed = _manifest(file, members)
        for name, size in members:
            entry = listed.pop(name, None)
            if entry is None or name == MANIFEST:
                raise Refused(f"{name!r} is in it twice or not in its manifest")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry != _copy(file, target, size):
                raise Refused(f"{name!r} does not fit the sha256 and size in the manifest")
            names.add(target.parent.name)
    if listed:
        raise Refused(f"{min(listed)!r} is in its manifest only")
    return sorted(names)


def _opened(archive: Path) -> BinaryIO:
    try:
        return archive.open("rb")
    except OSError as error:
        raise fault(archive, error) from error


def _members(file: BinaryIO) -> Iterator[tuple[str, int]]:
    """Yield name and size; the caller reads exactly ``size`` bytes before it asks for the next."""
    while True:
        block = file.read(_BLOCK)
        if block == bytes(_BLOCK):
            return
        try:
            header = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise Refused(f"damaged, truncated or not a plain tar ({error})") from error
        match = _MEMBER.fullmatch(header.name)
        if header.type != tarfile.REGTYPE or not (match or header.name == MANIFEST):
            raise Refused(f"{header.name!r} (type {header.type!r}) has no place in it")
        limit = _LIMITS[match[2]] if match else 64 * _MIB
        if not 0 <= header.size <= limit:
            raise Refused(
                f"{header.name!r} claims {header.size} bytes, at most {limit} are allowed"
            )
        yield header.name, header.size
        file.read(-header.size % _BLOCK)


def _manifest(file: BinaryIO, members: Iterator[tuple[str, int]]) -> dict[str, Any]:
    name, size = next(members, ("", 0))
    if name != MANIFEST:
        raise Refused(f"it does not begin with {MANIFEST}")
    try:
        manifest = load_object(file.read(size))
    except ValueError as error:
        raise Refused(f"{MANIFEST}: {error}") from error
    if manifest.get("format") != FORMAT or not isinstance(manifest.get("files"), dict):
        raise Refused(
            f"{MANIFEST}: format {manifest.get('format')!r}; this resbench reads {FORMAT}"
        )
    return dict(manifest["files"])


def _copy(file: BinaryIO, target: Path, size: int) -> dict[str, Any]:
    digest, left = hashlib.sha256(), size
    with open(target, "xb") as out:
        while left and (chunk := file.read(min(left, _MIB))):
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
        out.flush()
        os.fsync(out.fileno())
    return {"sha256": digest.hexdigest(), "size": size - left}
