"""The MLflow store: where it is, whose turn it is to write, what it holds. Imports no MLflow."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from resbench.errors import EnvironmentFault, UsageError
from resbench.store.atomic import fault
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


class Unreachable(EnvironmentFault):
    """The store does not answer now, whatever is asked of it."""


@dataclass(frozen=True)
class Store:
    """A store for the runs of ``results``."""

    uri: str
    results: Path
    database: Path | None
    """The file of a SQLite store; None for a server."""

    @property
    def shown(self) -> str:
        """The address without a user's password."""
        return _PASSWORD.sub("", self.uri)

    @property
    def sync(self) -> str:
        """The command that fills it from the files."""
        return invocation("sync", self.results)

    @property
    def artifacts(self) -> Path | None:
        """Where copies of files go: next to a database; None where a server decides."""
        return None if self.database is None else self.database.parent / "mlartifacts"

    def check_tables(self) -> None:
        """Refuse a database whose tables another version of MLflow has made."""
        rows = self.query("SELECT version_num FROM alembic_version")
        if not rows or not _newest() or rows[0][0] in _newest():
            return
        remedy = "Use that version, or name another store with MLFLOW_TRACKING_URI."
        if self.database == self.results / "mlflow.db":
            remedy = (
                f"Remove {self.database} and {self.artifacts}, then run {self.sync}: everything in "
                "them is rebuilt from the files."
            )
        text = f"{self.shown}: its tables were made by another version of MLflow. {remedy}"
        raise Unreachable(text)

    def page(self, server: str, experiment: str) -> str:
        """Return the address of an experiment's runs in the saved view."""
        query = f"viewStateShareKey={VIEW}&workflowType=machine_learning"
        return f"{server}/#/experiments/{experiment}/runs?{query}"

    @contextmanager
    def turn(self, wait_s: float) -> Iterator[None]:
        """Hold the store's lock for a block; the system frees it when its holder dies.

        Raises:
            Unreachable: another resbench has the lock after ``wait_s``, or a stranger the database.
        """
        lock = Path(f"{self.database or self.results / 'mlflow.db'}-lock")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, flags, 0o666)
        except OSError as error:
            raise Unreachable(str(fault(lock, error))) from error
        umask = os.umask(0)
        try:
            shared = lock.parent.stat().st_mode & stat.S_IWGRP
            os.umask(umask & ~0o070 if shared else umask)
            share(lock)
            deadline = time.monotonic() + wait_s
            while not _locked(descriptor):
                if time.monotonic() >= deadline:
                    text = (
                        f"{self.shown}: another resbench writes to it now. Run {self.sync} later."
                    )
                    raise Unreachable(text)
                time.sleep(_POLL_S)
            self._probe()
            yield
        finally:
            os.umask(umask)
            os.close(descriptor)

    def _probe(self) -> None:
        """Refuse a database that cannot be written now, before MLflow waits for it."""
        if self.database is None or not self.database.exists():
            return
        try:
            with closing(_open(self.database, "rw")) as opened:
                opened.execute("BEGIN IMMEDIATE")
                opened.rollback()
        except sqlite3.Error as error:
            what = "close what uses it, or remove it, and run"
            if not os.access(self.database, os.W_OK):
                what = f"its owner has to allow it (chmod g+w {self.database}), then run"
            text = f"{self.database}: {error}. Nothing is lost: {what} {self.sync}."
            raise Unreachable(text) from error

    def query(self, statement: str, *values: str) -> list[tuple[Any, ...]] | None:
        """Return rows of a SQLite store, None where it cannot be asked directly."""
        if self.database is None or not self.database.exists():
            return None
        with suppress(sqlite3.Error), closing(_open(self.database, "ro")) as opened:
            return opened.execute(statement, values).fetchall()
        return None

    def experiments(self) -> dict[str, str]:
        """Return suite -> experiment of a SQLite store."""
        statement = (
            "SELECT t.value, t.experiment_id FROM experiment_tags t JOIN experiments e "
            "USING (experiment_id) WHERE t.key = ? AND e.lifecycle_stage = 'active' ORDER BY 1"
        )
        return {suite: str(experiment) for suite, experiment in self.query(statement, SUITE) or ()}


def find_store(results: Path) -> Store:
    """Return the store that MLFLOW_TRACKING_URI names, by default ``mlflow.db`` in ``results``.

    Raises:
        UsageError: a kind of store that is not supported here.
    """
    results = results.absolute()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{results / 'mlflow.db'}"
    if match := _SQLITE.fullmatch(uri):
        database = Path(match[1]).absolute()
        return Store(f"sqlite:///{database}", results, database)
    if _SERVER.fullmatch(uri):
        return Store(uri.rstrip("/"), results, None)
    raise UsageError(
        f"MLFLOW_TRACKING_URI {_PASSWORD.sub('', uri)!r}: not a store that resbench writes to. Use "
        "sqlite:///FILE.db (no '?' in its path) or http://HOST:PORT of an MLflow server."
    )


@cache
def _newest() -> frozenset[str]:
    """Return the version of the tables that this MLflow makes, empty where it is not known.

    It is the revision in MLflow's migrations that none follows. Importing MLflow takes seconds.
    """
    package = importlib.util.find_spec("mlflow")
    folders = package.submodule_search_locations if package else None
    files = Path(folders[0]).glob("store/db_migrations/versions/*.py") if folders else ()
    texts = [file.read_text(errors="replace") for file in files]
    made, followed = (
        {match for text in texts for match in re.findall(f'^{name} = "(.+)"', text, re.MULTILINE)}
        for name in ("revision", "down_revision")
    )
    return frozenset(made - followed)


def folder_id(results: Path) -> str:
    """Return what tells a results folder from its copies, on whatever machine it is mounted."""
    marker = results / "resbench.json"
    with suppress(OSError):
        facts = marker.stat()
        return f"{facts.st_ino:x}-{facts.st_mtime_ns:x}"
    return str(results.absolute())


def share(path: Path) -> None:
    """Give a new file of ours to the group where its folder is the group's, whatever the umask."""
    with suppress(OSError):  # somebody else's
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.parent.stat().st_mode & stat.S_IWGRP and not mode & stat.S_IWGRP:
            path.chmod(mode | stat.S_IRGRP | stat.S_IWGRP)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(database: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.as_uri()}?mode={mode}", timeout=_STRANGER_S, uri=True)
