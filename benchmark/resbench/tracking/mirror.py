"""The MLflow store of a results folder: where it is, who may write, what it holds.

Imports no MLflow, which takes seconds: where nothing has changed, nothing else is needed.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from resbench.errors import EnvironmentFault, UsageError
from resbench.store.atomic import faults_at
from resbench.store.locks import lock_file
from resbench.words import invocation

SUITE, DIGEST, FOLDER = "resbench.suite", "resbench.digest", "resbench.folder"
VIEW = "resbench"
"""The saved view of columns that every experiment gets."""

_SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///([^?]+)")
_SERVER = re.compile(r"https?://[^/?#]+.*")
_PASSWORD = re.compile(r"(?<=://)[^/@]*@")
_POLL_S = 0.05
_STRANGER_S = 1.0
"""For a database that another program holds: MLflow itself would wait 20 s for it."""
_HELD = """
SELECT d.value, MAX(r.status = 'RUNNING' AND f.value = ?) FROM runs r
JOIN tags d ON d.run_uuid = r.run_uuid AND d.key = ?
JOIN tags f ON f.run_uuid = r.run_uuid AND f.key = ?
WHERE r.lifecycle_stage = 'active' GROUP BY 1
"""
_EXPERIMENTS = """
SELECT t.value, t.experiment_id FROM experiment_tags t JOIN experiments e USING (experiment_id)
WHERE t.key = ? AND e.lifecycle_stage = 'active' ORDER BY 1
"""


@dataclass(frozen=True)
class Mirror:
    """The store for the runs of ``results``."""

    uri: str
    results: Path
    database: Path | None
    """The file of a SQLite store; None for a server."""

    @property
    def shown(self) -> str:
        """The address without a user's password."""
        return _PASSWORD.sub("", self.uri)

    @property
    def artifacts(self) -> Path | None:
        """Where copies of files go: next to a database; None where a server decides."""
        return None if self.database is None else self.database.parent / "mlartifacts"

    @cached_property
    def folder(self) -> str:
        """What distinguishes the results folder from its copies, wherever it is mounted."""
        try:
            facts = (self.results / "resbench.json").stat()
        except OSError:
            return str(self.results)
        return f"{facts.st_ino:x}-{facts.st_mtime_ns:x}"

    @property
    def fill_command(self) -> str:
        """The command that fills it from the files."""
        return invocation("sync", self.results)

    @property
    def remedy(self) -> str:
        """What to do when it cannot be used."""
        text = f"Nothing is lost: {self.fill_command} completes it later"
        if self.database == self.results / "mlflow.db":
            text += f". If that fails too, remove {self.database} and {self.artifacts} first"
        return f"{text}."

    @contextmanager
    def turn(self, wait_s: float) -> Iterator[None]:
        """Be the only resbench that writes to the store for a block.

        Raises:
            EnvironmentFault: another resbench writes to it for ``wait_s``, or a stranger holds it.
        """
        path = Path(f"{self.database or self.results / 'mlflow.db'}-lock")
        with _shared_with_group(path.parent):
            deadline = time.monotonic() + wait_s
            while (lock := lock_file(path, block=False)) is None:
                if time.monotonic() >= deadline:
                    text = f"{self.shown}: another resbench writes to it now"
                    raise EnvironmentFault(f"{text}. Run {self.fill_command} later.")
                time.sleep(_POLL_S)
            with lock:
                self._probe()
                yield

    def _probe(self) -> None:
        """Refuse a database that cannot be written now, before MLflow waits for it."""
        if self.database is None or not self.database.exists():
            return
        try:
            with closing(_open(self.database, "rw")) as opened:
                opened.execute("BEGIN IMMEDIATE")
                opened.rollback()
        except sqlite3.Error as error:
            remedy = self.remedy
            if not os.access(self.database, os.W_OK):
                remedy = f"Its owner has to allow it: chmod g+w {self.database}."
            raise EnvironmentFault(f"{self.database}: {error}. {remedy}") from error

    def held(self) -> dict[str, bool] | None:
        """Return the digests of all runs, and whether one of this folder is shown as running.

        None where it cannot say at once: a server cannot, nor can a damaged database.
        """
        if self.database is not None and not self.database.exists():
            return {}
        rows = self._query(_HELD, self.folder, DIGEST, FOLDER)
        return None if rows is None else dict(rows)

    def experiments(self) -> dict[str, int]:
        """Return suite -> experiment of a SQLite store."""
        return dict(self._query(_EXPERIMENTS, SUITE) or ())

    def _query(self, statement: str, *values: str) -> list[tuple[Any, ...]] | None:
        if self.database is not None:
            with suppress(sqlite3.Error), closing(_open(self.database, "ro")) as opened:
                return opened.execute(statement, values).fetchall()
        return None


def find_mirror(results: Path) -> Mirror:
    """Return the store that MLFLOW_TRACKING_URI names, by default ``mlflow.db`` in ``results``.

    Raises:
        UsageError: a kind of store that is not supported here.
    """
    results = results.absolute()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{results / 'mlflow.db'}"
    if match := _SQLITE.fullmatch(uri):
        database = Path(match[1]).absolute()
        return Mirror(f"sqlite:///{database}", results, database)
    if _SERVER.fullmatch(uri):
        return Mirror(uri.rstrip("/"), results, None)
    raise UsageError(
        f"MLFLOW_TRACKING_URI {_PASSWORD.sub('', uri)!r}: not a store that resbench writes to. Use "
        "sqlite:///FILE.db (no '?' in its path) or http://HOST:PORT of an MLflow server."
    )


@contextmanager
def _shared_with_group(folder: Path) -> Iterator[None]:
    """Make new files the group's where ``folder`` is the group's, whatever the umask."""
    with faults_at(folder):
        folder.mkdir(parents=True, exist_ok=True)
        is_group_writable = folder.stat().st_mode & stat.S_IWGRP
    umask = os.umask(0)
    os.umask(umask & ~0o070 if is_group_writable else umask)
    try:
        yield
    finally:
        os.umask(umask)


def _open(database: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.as_uri()}?mode={mode}", timeout=_STRANGER_S, uri=True)
