"""Where and with what code a run was made."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

import resbench
from resbench.machine import cpu_name
from resbench.process import output_of
from resbench.store.records import Code
from resbench.train.determinism import cpu_facts, signature

NUMERIC_PACKAGES = ("models", "data", "train", "suite")


def environment(device: torch.device) -> dict[str, Any]:
    """Return versions and hardware as plain values."""
    return {
        **cpu_facts(),
        **signature(device),
        "python": platform.python_version(),
        "cpu": f"{cpu_name()}, {os.cpu_count()} logical cores",
        "os": f"{platform.system()} {platform.machine()}",
    }


@lru_cache(maxsize=1)
def code_version() -> Code:
    """Return the package version, the checkout's commit where there is one, and a source digest.

    The digest covers the modules that can change a number, so that two records from checkouts with
    local changes can still be told apart.
    """
    package = Path(resbench.__file__).parent
    digest = hashlib.sha256()
    for name in NUMERIC_PACKAGES:
        for path in sorted((package / name).rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    commit = _git(package, "rev-parse", "HEAD") if _in_own_repository(package) else None
    changes = _git(package, "status", "--porcelain", "--", ".") if commit else None
    return Code(
        version=resbench.__version__,
        commit=commit,
        dirty=None if changes is None else bool(changes),
        source_sha256=digest.hexdigest(),
    )


def _in_own_repository(package: Path) -> bool:
    """Say whether the package lies in a checkout of resbench, not in another repository."""
    top = _git(package, "rev-parse", "--show-toplevel")
    return top is not None and os.path.realpath(top) == os.path.realpath(package.parents[1])


def _git(folder: Path, *arguments: str) -> str | None:
    # A refreshed index is nothing to lock the user's repository for.
    output = output_of("git", "--no-optional-locks", "-C", str(folder), *arguments, timeout_s=10)
    return None if output is None else output.strip()
