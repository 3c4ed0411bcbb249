"""Runs as `resbench run` leaves them, and MLflow's tables read directly."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from resbench.store.layout import RunFolder, open_for_writing
from resbench.store.locks import try_lock
from resbench.store.state import Status, write_state

from ..factory import CELL, EPOCHS, complete, unfinished, work

NAME = f"s0 {CELL}"
"""Of seed 0 in MLflow."""


def stopped(
    results: Path,
    seed: int = 0,
    epochs: int = EPOCHS,
    status: Status = Status.INTERRUPTED,
    **context: Any,
) -> RunFolder:
    """A run that stopped after some epochs."""
    open_for_writing(results)
    run = unfinished(results, seed, epochs, **context)
    write_state(run, status, epoch=epochs)
    run.log.write_text("epoch 1\n")
    return run


def finished(results: Path, seed: int = 0, **context: Any) -> RunFolder:
    """A run with its record."""
    run = stopped(results, seed, **context)
    complete(run, seed, **context)
    return run


def worked(run: RunFolder, first: int, last: int, *, seconds: float = 1.5) -> None:
    """More epochs of the run of seed 0."""
    for epoch in range(first, last + 1):
        work(run, 0, epoch, seconds=seconds)


@contextmanager
def training(run: RunFolder) -> Iterator[None]:
    """This process trains the run in the eyes of others."""
    lock = try_lock(run.path)
    assert lock is not None
    with lock:
        state = json.loads(run.state.read_text())
        run.state.write_text(json.dumps({**state, "status": "running", "pid": os.getpid()}))
        yield


class Tables:
    """What a store's database holds."""

    def __init__(self, database: Path) -> None:
        self.database = database

    def query(self, text: str, *values: Any) -> list[Any]:
        """Rows of a SELECT; anything else is committed."""
        with closing(sqlite3.connect(self.database)) as opened, opened:
            return opened.execute(text, values).fetchall()

    def runs(self) -> list[tuple[str, str, str]]:
        """Experiment, name and status of each run that was not deleted."""
        return self.query(
            "SELECT e.name, r.name, r.status FROM runs r JOIN experiments e USING (experiment_id) "
            "WHERE r.lifecycle_stage = 'active' ORDER BY 1, 2"
        )

    def points(self, where: str = "1") -> list[tuple[str, int, float]]:
        """Name, step and value of every point of the runs that were not deleted."""
        return self.query(
            "SELECT key, step, value FROM metrics JOIN runs USING (run_uuid) "
            f"WHERE lifecycle_stage = 'active' AND {where} ORDER BY 1, 2"
        )

    def tags(self, name: str) -> list[str]:
        """Values of one tag in all runs that were not deleted."""
        rows = self.query(
            "SELECT value FROM tags JOIN runs USING (run_uuid) "
            "WHERE lifecycle_stage = 'active' AND key = ?",
            name,
        )
        return [value for (value,) in rows]
