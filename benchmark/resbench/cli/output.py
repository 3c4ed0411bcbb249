"""Where a verb's output goes when the user names a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from resbench.store.atomic import fault, write_atomic


def write_output(path: Path, data: bytes) -> None:
    """Write a plain file, whole or not at all, through a link; write into a device or a pipe.

    Raises:
        EnvironmentFault: a folder, or the system refused.
    """
    try:
        if not is_plain(path):
            path.write_bytes(data)
            return
        target = Path(os.path.realpath(path))
    except OSError as error:
        raise fault(path, error) from error
    write_atomic(target, data)


def is_plain(path: Path) -> bool:
    """Return whether ``path`` is a plain file or nothing yet, so that it may be replaced."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True
