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
from pathlib import Path
from typing import Any

from resbench.errors import EnvironmentFault, UsageError
from resbench.store.atomic import fault
from resbench.store.locks import lock_file
from resbench.words import invocation

SUITE, CELL, KEY = "resbench.suite", "resbench.cell", "resbench.key"
DIGEST, FOLDER = "resbench.digest", "resbench.folder"
VIEW = "resbench"
"""The saved view of columns that every experiment gets."""

_SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///([^?]+)")
_SERVER = re.compile(r"https?://[^/?#]+.*")
_PASSWORD = re.compile(r"(?<=://)[^/@]*@")
_POLL_S = 0.05
_STRANGER_S = 1.0
"""For a database that another program holds: MLflow itself would wait 20 s for it."""
_HELD = """
SELECT d.value, r.status, f.value FROM runs r
JOIN tags d ON d.run_uuid = r.run_uuid AND d.key = ?
JOIN tags f ON f.run_uuid = r.run_uuid AND f.key = ?
WHERE r.lifecycle_stage = 'active'
"""
_EXPERIMENTS = """
SELECT t.value, t.experiment_id FROM experiment_tags t JOIN experiments e USING (experiment_id)
WHERE t.key = ? AND e.lifecycle_stage = 'active' ORDER BY 1
"""


class Unreachable(EnvironmentFault):
    """The store does not answer now, whatever is asked of it."""


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

    def page(self, server: str, experiment: str) -> str:
        """Return the address of an experiment's runs in the saved view."""
        query = f"viewStateShareKey={VIEW}&workflowType=machine_learning"
        return f"{server}/#/experiments/{experiment}/runs?{query}"

    @contextmanager
    def turn(self, wait_s: float) -> Iterator[None]:
        """Be the only resbench that writes to the store for a block.

        Raises:
            Unreachable: another resbench writes to it for ``wait_s``, or a stranger holds it.
        """
        path = Path(f"{self.database or self.results / 'mlflow.db'}-lock")
        with _shared_with_group(path.parent):
            deadline = time.monotonic() + wait_s
            while (lock := lock_file(path, block=False)) is None:
                if time.monotonic() >= deadline:
                    text = f"{self.shown}: another resbench writes to it now"
                    raise Unreachable(f"{text}. Run {self.fill_command} later.")
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
            raise Unreachable(f"{self.database}: {error}. {remedy}") from error

    def held(self) -> list[tuple[str, str, str]] | None:
        """Return digest, status and results folder of its runs; None where it cannot say at once.

        A server cannot, and neither can a damaged database.
        """
        if self.database is not None and not self.database.exists():
            return []
        return self._query(_HELD, DIGEST, FOLDER)

    def experiments(self) -> dict[str, str]:
        """Return suite -> experiment of a SQLite store."""
        return {suite: str(number) for suite, number in self._query(_EXPERIMENTS, SUITE) or ()}

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


def folder_id(results: Path) -> str:
    """Return what distinguishes a results folder from its copies, wherever it is mounted."""
    with suppress(OSError):
        facts = (results / "resbench.json").stat()
        return f"{facts.st_ino:x}-{facts.st_mtime_ns:x}"
    return str(results.absolute())


@contextmanager
def _shared_with_group(folder: Path) -> Iterator[None]:
    """Make new files the group's where ``folder`` is the group's, whatever the umask."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_group_writable = folder.stat().st_mode & stat.S_IWGRP
    except OSError as error:
        raise Unreachable(str(fault(folder, error))) from error
    umask = os.umask(0)
    os.umask(umask & ~0o070 if is_group_writable else umask)
    try:
        yield
    finally:
        os.umask(umask)


def _open(database: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.as_uri()}?mode={mode}", timeout=_STRANGER_S, uri=True)
