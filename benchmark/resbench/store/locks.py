"""One exclusive lock per folder, held by the process that works in it.

``flock`` frees itself when its holder dies, also by kill -9. But a forked child shares the open
file and would keep the lock after its parent's death: so descriptors are close-on-exec, and a child
forked from Python closes them. Lock files are never removed: a second process could lock the
removed file while a third locks a new one. A folder that is missing, replaced, read-only, or cannot
lock files is an EnvironmentFault.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import time
from pathlib import Path

from resbench.errors import StorageFault
from resbench.store.atomic import fault, sweep

LOCK_NAME = ".lock"
_PROBE_S = 0.01
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""What file systems answer that have no locks."""

_held: set[Lock] = set()


class Lock(io.FileIO):
    """A held lock: freed when its file is closed, so also by the end of ``with`` or the process."""

    def close(self) -> None:
        """Free the lock; a second call does nothing."""
        super().close()
        _held.discard(self)


def _forget_in_child() -> None:
    for lock in list(_held):
        lock.close()  # closes the child's descriptor only: the parent still holds the lock


os.register_at_fork(after_in_child=_forget_in_child)


def lock_file(path: Path, *, block: bool) -> Lock | None:
    """Return the lock that ``path`` stands for, or None when ``block`` is off and it is held."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    try:
        lock = Lock(os.open(path, flags, 0o666), "r+")
        _held.add(lock)
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX if block else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(lock.fileno()), os.lstat(path)):
                raise FileNotFoundError(errno.ENOENT, "The folder was replaced meanwhile")
        except BaseException:
            lock.close()
            raise
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise fault(path, error) from error
        raise StorageFault(
            f"{path}: this file system cannot lock files ({error.strerror}), so nothing would keep "
            "two processes from training one run. Choose a results folder on a local disk, or "
            "mount this one with locks (NFS: with lockd, or version 4; Lustre: -o flock)."
        ) from error
    return lock


def try_lock(folder: Path, *, tries: int = 3) -> Lock | None:
    """Return the lock of ``folder``, or None when another process holds it for all ``tries``.

    They are 10 ms apart, and three outlast another process's :func:`is_locked`. Sweeps what a
    killed writer left in the folder.
    """
    for number in range(tries):
        if number:
            time.sleep(_PROBE_S)
        if lock := lock_file(folder / LOCK_NAME, block=False):
            return _swept(lock, folder)
    return None


def wait_lock(folder: Path) -> Lock:
    """Return the lock of ``folder`` once it is free, as :func:`try_lock`; for brief holders."""
    lock = lock_file(folder / LOCK_NAME, block=True)
    assert lock is not None, "a blocking flock returns with the lock"
    return _swept(lock, folder)


def _swept(lock: Lock, folder: Path) -> Lock:
    try:
        sweep(folder)
    except OSError as error:
        lock.close()
        raise fault(folder, error) from error
    return lock


def is_locked(folder: Path) -> bool:
    """Say whether a process works in ``folder`` now, without making anything."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # with any other error no process can hold a lock here
        return isinstance(error, BlockingIOError)
    finally:
        os.close(descriptor)
    return False
