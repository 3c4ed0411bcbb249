"""Files that are old or new and never mixed, and JSON lines that survive a torn end.

Every writer of a folder holds its lock (:mod:`resbench.store.locks`), so what a killed writer left
behind can be recognised by its name and swept by the next holder. Where the system refuses (no
space, read-only, I/O error, permission), readers and writers raise an EnvironmentFault.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from resbench.errors import EnvironmentFault, StorageFault

TEMPORARY = ".tmp-"
"""Start of the temporary names in a folder whose lock is held: ``.tmp-<pid>-<random>``."""
UNSWEPT = ".new-"
"""Start of the others: no lock guards the file that a user asked for, so no sweep may take it."""
_SWEPT = re.compile(rf"{re.escape(TEMPORARY)}\d+-[0-9a-f]{{8}}")

_OF_THE_DISK = {
    errno.ENOSPC: "Free some space and run again: the last good state is kept.",
    errno.EDQUOT: "Free some space and run again: the last good state is kept.",
    errno.EFBIG: "Raise the file size limit (ulimit -f) and run again: the last state is kept.",
    errno.EACCES: "Change its permissions or choose another folder.",
    errno.EPERM: "Change its permissions or choose another folder.",
    errno.EROFS: "Choose a folder on a disk that can be written.",
    errno.EIO: "Check the disk, then run again: the last good state is kept.",
}
"""What would stop every run in the folder."""
_OF_THE_PATH = {
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "Links are not followed here: put the real file or folder in its place.",
}


def fault(path: Path, error: OSError) -> EnvironmentFault:
    """Return the user's line for ``error``: the path, the system's reason, what to do."""
    number = error.errno or 0
    kind = StorageFault if number in _OF_THE_DISK else EnvironmentFault
    advice = (_OF_THE_DISK | _OF_THE_PATH).get(number, "Check the path and run again.")
    return kind(f"{path}: {error.strerror or error}. {advice}")


@contextmanager
def faults_at(path: Path) -> Iterator[None]:
    """Turn what the system refuses in the block into the user's line about ``path``."""
    try:
        yield
    except OSError as error:
        raise fault(path, error) from error


def temporary_in(folder: Path, prefix: str = TEMPORARY) -> Path:
    """Return a fresh temporary name in ``folder``; by its prefix :func:`sweep` recognises it."""
    return folder / f"{prefix}{os.getpid()}-{os.urandom(4).hex()}"


def fsync_path(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path, prefix: str = TEMPORARY) -> Iterator[BinaryIO]:
    """Yield a file that becomes ``path`` when the block ends; on any error the old one stays."""
    temporary = temporary_in(path.parent, prefix)
    with faults_at(path):
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            fsync_path(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def write_atomic(path: Path, data: bytes, prefix: str = TEMPORARY) -> None:
    """Replace ``path`` by ``data``; a kill at any moment leaves all of it or nothing."""
    with atomic_file(path, prefix) as file:
        file.write(data)


def sweep(folder: Path) -> None:
    """Remove what killed writers left in ``folder``; only for its lock's holder."""
    for path in [folder / name for name in os.listdir(folder) if _SWEPT.fullmatch(name)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def read_file(path: Path, limit: int = 64 << 20) -> bytes | None:
    """Return the bytes of a plain file, or None when there is none.

    A link, a pipe and a file of more than ``limit`` bytes are faults.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with faults_at(path), suppress(FileNotFoundError), open(os.open(path, flags), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise EnvironmentFault(f"{path}: not a plain file. Remove it.")
        if facts.st_size > limit:
            raise EnvironmentFault(
                f"{path}: {facts.st_size} bytes, more than the {limit} such a file may have."
            )
        return file.read()
    return None


def dump_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Return JSON without NaN or infinity (ValueError), in ASCII so that any text can be stored."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(
        value, indent=indent, sort_keys=sort_keys, separators=separators, allow_nan=False
    )


def load_object(data: bytes | str) -> dict[str, Any]:
    """Parse one JSON object; ValueError says what is wrong with anything else."""
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        where = f" from line {error.lineno} on" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"not JSON{where}" if data.strip() else "the file is empty") from None
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is needed, not a {type(value).__name__}")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append ``row`` as one durable JSON line, after cutting off a torn last line.

    On an error, also the ValueError of a number that is not finite, the earlier lines stay whole.
    """
    line = f"{dump_json(row)}\n".encode()
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    with faults_at(path):
        with open(os.open(path, flags, 0o666), "r+b", buffering=0) as file:
            old = file.readall()
            end = old.rfind(b"\n") + 1
            try:
                file.truncate(end)
                file.seek(end)
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                raise
        if not old:
            fsync_path(path.parent)


def whole_lines(path: Path) -> list[bytes]:
    """Return the complete lines of ``path`` without their ends; a torn last one is dropped."""
    return (read_file(path) or b"").split(b"\n")[:-1]
