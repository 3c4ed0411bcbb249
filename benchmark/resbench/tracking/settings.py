"""Where the mirror lies, and how MLflow is to behave. Imports no MLflow."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from resbench.errors import UsageError
from resbench.words import invocation

_SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///([^?]+)")
_SERVER = re.compile(r"https?://[^/?#]+.*")
_PASSWORD = re.compile(r"(?<=://)[^/@]*@")

_ALWAYS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what goes wrong is said once, in our own words
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_UNLESS_SET = {
    # With MLflow's own values (7 retries, 120 s) a dead server blocks for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "2",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "4",
}


@dataclass(frozen=True)
class Store:
    """An MLflow store that mirrors ``results``."""

    uri: str
    results: Path
    database: Path | None
    """The file of a SQLite store; None for a server."""

    @property
    def shown(self) -> str:
        """The URI without a user's password."""
        return _PASSWORD.sub("", self.uri)

    @property
    def sync(self) -> str:
        """The command that fills it from the files."""
        usual = find_store(self.results).uri == self.uri
        arguments = [] if usual else ["--tracking-uri", self.shown]
        return invocation("sync", self.results, arguments)

    @property
    def lock(self) -> Path:
        """Held by the process that writes; SQLite has its own at the database."""
        return Path(f"{self.database or self.results / 'mlflow.db'}-lock")

    @property
    def artifacts(self) -> str | None:
        """Where files go: beside a database; None where a server decides."""
        return None if self.database is None else (self.database.parent / "mlartifacts").as_uri()


def find_store(results: Path, uri: str | None = None) -> Store:
    """Return the store named by ``uri``, else by MLFLOW_TRACKING_URI, else ``mlflow.db`` within.

    Raises:
        UsageError: a kind of store that MLflow no longer has, or that is not supported here.
    """
    results = results.absolute()
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{results / 'mlflow.db'}"
    if match := _SQLITE.fullmatch(uri):
        database = Path(match[1]).absolute()
        return Store(f"sqlite:///{database}", results, database)
    if _SERVER.fullmatch(uri):
        return Store(uri.rstrip("/"), results, None)
    raise UsageError(
        f"tracking URI {_PASSWORD.sub('', uri)!r}: not a store for the mirror. Use "
        "sqlite:///FILE.db (no '?' in its path) or http://HOST:PORT of an MLflow server."
    )


def experiment_page(server: str, experiment_id: str) -> str:
    """Return the address of an experiment's runs with their charts."""
    view = "compareRunsMode=CHART&workflowType=machine_learning"
    return f"{server}/#/experiments/{experiment_id}/runs?{view}"


def mlflow_variables() -> dict[str, str]:
    """Return the variables under which MLflow must be imported, in this process or a child."""
    return {**_ALWAYS, **{k: v for k, v in _UNLESS_SET.items() if k not in os.environ}}
