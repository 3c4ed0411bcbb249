"""Keeps the data tests away from the user's own data and cache."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESBENCH_DATA_DIR", str(tmp_path / "user-data"))
    monkeypatch.setenv("RESBENCH_CACHE_DIR", str(tmp_path / "user-cache"))
