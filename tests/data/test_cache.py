"""Where a user keeps things, with a home folder and without one."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from resbench.data.cache import cache_dir
from resbench.data.sources import data_dir


def test_a_tilde_in_a_variable_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RESBENCH_CACHE_DIR", "~/cache")
    monkeypatch.setenv("RESBENCH_DATA_DIR", "~")
    assert (cache_dir(), data_dir()) == (tmp_path / "cache", tmp_path)


def test_a_user_without_home_and_name_has_no_cache_and_makes_no_folder_called_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "RESBENCH_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotADirectoryError):
        cache_dir().mkdir(parents=True)
    assert list(tmp_path.iterdir()) == []
