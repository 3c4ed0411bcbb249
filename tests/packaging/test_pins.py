"""constraints.txt pins everything that an installation brings, and fits pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
CUDA = re.compile("cuda|nvidia|triton")


def pins() -> dict[str, str]:
    """Return the pinned version of each package of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def closure(requirements: list[str]) -> set[str]:
    """Return the installed packages that ``requirements`` bring on this machine."""
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(text), "") for text in requirements]
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                todo += [(Requirement(text), wanted) for text in needs(name)]
    return {name for name, _ in seen}


def needs(name: str) -> list[str]:
    """Return the requirements of an installed package, none for one that is not installed."""
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def test_every_package_of_the_closure_is_pinned() -> None:
    installed = {name for name in closure(DECLARED) if not CUDA.match(name)}
    assert {"torch", "numpy", "sqlalchemy", "pluggy"} <= installed
    assert sorted(installed - pins().keys()) == []


def test_pins_lie_within_the_declared_ranges() -> None:
    outside = [
        str(requirement)
        for requirement in map(Requirement, DECLARED)
        if pins()[canonicalize_name(requirement.name)] not in requirement.specifier
    ]
    assert outside == []
