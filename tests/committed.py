"""What the repository ships, whatever a checkout has besides."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def committed(folder: str) -> list[Path]:
    """Return the committed files below a folder of the checkout; skip where git does not know."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files are committed is unknown")
    command = ["git", "ls-tree", "-r", "-z", "--name-only", "HEAD", "--", folder]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name.decode() for name in listed.split(b"\0") if name]


def changed(*folders: str) -> bool:
    """Say whether committed files were changed or removed since."""
    command = ["git", "status", "--porcelain", "--untracked-files=no", "--", *folders]
    return bool(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)


def copy_of(folder: str, target: Path) -> Path:
    """Copy the committed files of a folder, and nothing that lies beside them; return the copy."""
    for path in committed(folder):
        if path.is_file():
            copy = target / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    return target / folder
