"""Taking turns: one process writes to a store at a time, and none waits for long."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from resbench.errors import EnvironmentFault
from resbench.store.atomic import fault
from resbench.tracking.settings import Store

_POLL_S = 0.05
_STRANGER_S = 1.0
"""For a database that another program holds: MLflow itself would wait 20 s for it."""


class Unreachable(EnvironmentFault):
    """The store does not answer now, whatever is asked of it."""


@contextmanager
def turn(store: Store, wait_s: float) -> Iterator[None]:
    """Hold the store's lock for a block; the system frees it when its holder dies.

    Raises:
        Unreachable: another resbench has the lock after ``wait_s``, or a stranger the database.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        store.lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(store.lock, flags, 0o666)
    except OSError as error:
        raise Unreachable(str(fault(store.lock, error))) from error
    try:
        _wait(descriptor, store, time.monotonic() + wait_s)
        if store.database is not None and store.database.exists():
            _probe(store.database, store.sync)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, store: Store, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Unreachable(
                    f"{store.shown}: another resbench writes to it now. Run {store.sync} later."
                ) from None
            time.sleep(_POLL_S)


def _probe(database: Path, sync: str) -> None:
    address = f"{database.as_uri()}?mode=rw"
    try:
        with closing(sqlite3.connect(address, timeout=_STRANGER_S, uri=True)) as opened:
            opened.execute("BEGIN IMMEDIATE")
            opened.rollback()
    except sqlite3.Error as error:
        raise Unreachable(
            f"{database}: {error}. Nothing is lost: close what uses it, or remove it, and run "
            f"{sync}."
        ) from error
