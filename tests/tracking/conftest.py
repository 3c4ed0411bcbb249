"""A database made once: its migrations take seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from resbench.store.layout import open_for_writing
from resbench.tracking.export import _make, _mlflow

from .tables import Tables


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("empty") / "mlflow.db"
    _make(database, _mlflow().MlflowClient)
    return database


@pytest.fixture
def results(tmp_path: Path, empty_database: Path) -> Path:
    """A results folder whose store is empty."""
    folder = tmp_path / "results"
    open_for_writing(folder)
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder


@pytest.fixture
def tables(results: Path) -> Tables:
    return Tables(results / "mlflow.db")
