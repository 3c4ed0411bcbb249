"""Packs at a URL, through fsspec: S3, HTTP, SSH and what else it reaches.

A pack is always read and written as a local file first, so that every check of a file holds for a
URL too, and a transfer that breaks leaves nothing half.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resbench.errors import EnvironmentFault, UsageError
from resbench.words import one_line


def is_url(place: str) -> bool:
    """Return whether a place is a URL rather than a path."""
    return "://" in place


@contextmanager
def fetched(place: str) -> Iterator[Path]:
    """Give a path or a URL as a local file; the copy of a URL is removed afterwards.

    Raises:
        UsageError: fsspec does not know such a URL.
        EnvironmentFault: it cannot be read.
    """
    if not is_url(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="resbench-") as folder:
        local = Path(folder, place.rpartition("/")[2] or "pack.tar")
        _copy(place, local, "rb")
        yield local


def deliver(local: Path, place: str) -> None:
    """Copy a local file to a URL.

    Raises:
        UsageError: fsspec does not know such a URL.
        EnvironmentFault: it cannot be written.
    """
    _copy(place, local, "wb")


def _copy(url: str, local: Path, mode: str) -> None:
    import fsspec

    try:
        remote: Any = fsspec.open(url, mode)
        if mode == "rb":
            with remote as source, local.open("wb") as target:
                shutil.copyfileobj(source, target)
        else:
            with local.open("rb") as source, remote as target:
                shutil.copyfileobj(source, target)
    except (ValueError, ImportError) as error:  # unknown, or its package is not installed
        extra = " `pip install 'resbench[s3]'` adds S3." if url.startswith("s3:") else ""
        raise UsageError(f"{url}: {one_line(error).rstrip('.')}.{extra}") from error
    except Exception as error:  # each file system of fsspec has errors of its own
        what = "read" if mode == "rb" else "written"
        raise EnvironmentFault(
            f"{url}: cannot be {what}: {one_line(error).rstrip('.') or type(error).__name__}. "
            "Check the address and your access to it, and run again."
        ) from error
