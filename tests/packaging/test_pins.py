"""constraints.txt pins everything that an installation brings, and fits pyproject.toml."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
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


def imported() -> set[str]:
    """Return the modules that the package imports, but for its own and the standard library's."""
    files = (ROOT / "benchmark" / "resbench").rglob("*.py")
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_bytes()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"resbench"}


def test_every_package_that_resbench_imports_is_declared() -> None:
    declared = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    providers = packages_distributions()
    undeclared = [
        module
        for module in sorted(imported())
        if declared.isdisjoint(map(canonicalize_name, providers[module]))
    ]
    assert {"torch", "yaml", "numpy"} <= imported()
    assert undeclared == []


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
