"""The Makefile: how it finds Python, when it installs, and what it hands to uv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.mini import executable

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run make in ``folder`` without the settings of a make that runs these tests."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env={**clean, **env}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the files an installation depends on, and no environment."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.fixture
def installed(checkout: Path) -> Path:
    """Return such a folder where everything was installed a moment ago."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    for name in ("bin/uv", "installed", "installed-test"):
        (checkout / ".venv" / name).touch()
    return checkout


def test_too_old_a_python_is_refused_in_one_line_that_says_what_to_do(checkout: Path) -> None:
    old = executable(checkout / "python3.9", "exit 1")
    result = make(checkout, "demo", f"PYTHON={old} no-such-python")
    assert result.returncode == 2
    message = result.stderr.splitlines()[0]
    assert "Python >= 3.11" in message
    assert str(old) in message
    assert "make PYTHON=" in message
    assert not (checkout / ".venv").exists()


def test_a_broken_python_is_passed_over_for_the_next_one(checkout: Path) -> None:
    broken = executable(checkout / "python3.11", "exit 127")
    body = f'case "$1" in -c) exec "{sys.executable}" "$@";; *) echo "chosen: $*"; exit 3;; esac'
    good = executable(checkout / "python3", body)
    result = make(checkout, "demo", f"PYTHON={broken} {good}")
    assert "chosen: -m venv .venv" in result.stdout


def test_nothing_is_installed_while_the_environment_is_up_to_date(installed: Path) -> None:
    assert "pip install" not in make(installed, "--dry-run", "test").stdout


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(installed: Path, changed: str) -> None:
    later = time.time() + 10
    os.utime(installed / changed, (later, later))
    output = make(installed, "--dry-run", "test").stdout
    assert "-e '.'" in output
    assert "-e '.[test]'" in output
    assert "-c constraints.txt" in output


def test_wheel_folders_of_pip_are_handed_to_uv(installed: Path) -> None:
    executable(installed / ".venv/bin/pip", "echo wheels-of-pip")
    (installed / ".venv" / "installed").unlink()
    output = make(installed, "--dry-run", "demo", PIP_FIND_LINKS="wheels-a wheels-b").stdout
    for folder in ("wheels-a", "wheels-b", "wheels-of-pip"):
        assert f"--find-links {folder}" in output


def test_ci_runs_make_test_from_any_folder_and_fails_with_it(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "Makefile").write_text("test:\n\t@pwd\n\t@cat\n\t@exit 7\n")
    result = subprocess.run([script], cwd="/", capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stdout == f"{tmp_path}\n"
