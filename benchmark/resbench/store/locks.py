"""One exclusive lock per folder, held by the process that works in it.

``flock`` frees itself when its holder dies, also by kill -9. It belongs to the open file, which a
forked child shares: such a child would keep the lock alive after its parent's death. Descriptors
are therefore close-on-exec, and a child forked from Python closes them; a child forked by other
code (a C library) must exec or end with its parent.

Lock files are never removed: a second process could lock the removed file while a third locks a
new one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

from resbench.errors import StorageFault
from resbench.store.atomic import fault, sweep

LOCK_NAME = ".lock"
_PROBE_S = 0.01
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""What file systems answer that have no locks."""

_held: set[Lock] = set()


@dataclass(eq=False)
class Lock:
    """A held lock; freed by :meth:`release`, the end of a ``with`` block or of the process."""

    path: Path
    descriptor: int

    def release(self) -> None:
        """Free the lock; a second call does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        _held.discard(self)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _forget_in_child() -> None:
    for lock in list(_held):
        lock.release()  # closes the child's descriptor only: the parent still holds the lock


os.register_at_fork(after_in_child=_forget_in_child)


def lock_file(path: Path, *, block: bool) -> Lock | None:
    """Return the lock that ``path`` stands for, or None when ``block`` is off and it is held.

    Raises:
        EnvironmentFault: the folder is missing, replaced, read-only, or cannot lock files.
    """
    operation = fcntl.LOCK_EX if block else fcntl.LOCK_EX | fcntl.LOCK_NB
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o666)
        try:
            _lock_file(descriptor, operation, path)
            if not os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                raise FileNotFoundError(errno.ENOENT, "The folder was replaced meanwhile")
        except BaseException:
            os.close(descriptor)
            raise
    except BlockingIOError:
        return None
    except OSError as error:
        raise fault(path, error) from error
    lock = Lock(path, descriptor)
    _held.add(lock)
    return lock


def _lock_file(descriptor: int, operation: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise StorageFault(
            f"{path}: this file system cannot lock files ({error.strerror}), so nothing would keep "
            "two processes from training one run. Choose a results folder on a local disk, or "
            "mount this one with locks (NFS: with lockd, or version 4; Lustre: -o flock)."
        ) from error


def try_lock(folder: Path, *, tries: int = 3) -> Lock | None:
    """Return the lock of ``folder``, or None when another process holds it for all ``tries``.

    They are 10 ms apart, and three outlast another process's :func:`is_locked`. Sweeps what a
    killed writer left in the folder.

    Raises:
        EnvironmentFault: the folder is missing, replaced, read-only, or cannot lock files.
    """
    for number in range(tries):
        if number:
            time.sleep(_PROBE_S)
        if lock := lock_file(folder / LOCK_NAME, block=False):
            return _swept(lock)
    return None


def wait_lock(folder: Path) -> Lock:
    """Return the lock of ``folder`` once it is free, as :func:`try_lock`; for brief holders."""
    lock = lock_file(folder / LOCK_NAME, block=True)
    assert lock is not None, "a blocking flock returns with the lock"
    return _swept(lock)


def _swept(lock: Lock) -> Lock:
    try:
        sweep(lock.path.parent)
    except OSError as error:
        lock.release()
        raise fault(lock.path.parent, error) from error
    return lock


def is_locked(folder: Path) -> bool:
    """Say whether a process works in ``folder`` now, without making anything."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # nobody can hold a lock here
        return False
    finally:
        os.close(descriptor)
    return False
