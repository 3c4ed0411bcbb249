"""The wheel is complete: what it holds, and that it works far from the checkout."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from tests.mini import python, ran

ROOT = Path(__file__).resolve().parents[2]
FIND_SUITES = """
from resbench.suite import load
print(load.__file__, load.suite_folder(), sep="\\n")
"""


def run(folder: Path, *command: str | Path, **variables: str) -> str:
    """Return what a command prints, which must end well."""
    done = ran(folder, *map(str, command), **variables)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(ROOT, sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    return next(folder.glob("resbench-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which pip has installed the wheel without its dependencies."""
    target = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(target, *pip, "--target", target, wheel)
    return target


def test_wheel_ships_package_suites_licence_and_type_marker_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    suites = {p.relative_to(ROOT / "suites").as_posix() for p in ROOT.glob("suites/**/*.yaml")}
    assert {f"resbench/_suites/{name}" for name in suites} <= shipped
    modules = {p.relative_to(ROOT / "benchmark").as_posix() for p in ROOT.glob("benchmark/**/*.py")}
    assert modules <= shipped
    assert "resbench/py.typed" in shipped
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in shipped)
    assert {name.split("/")[0].split("-")[0] for name in shipped} == {"resbench"}
    assert not [name for name in shipped if "__pycache__" in name]


def test_wheel_installed_elsewhere_finds_its_own_suites(installed: Path, tmp_path: Path) -> None:
    code, suites = python(tmp_path, FIND_SUITES, PYTHONPATH=str(installed)).splitlines()
    assert Path(code).is_relative_to(installed)
    assert Path(suites) == installed / "resbench" / "_suites"
    assert (Path(suites) / "smoke.yaml").is_file()


def test_wheel_installed_elsewhere_validates_smoke_by_name(installed: Path, tmp_path: Path) -> None:
    command = installed / "bin" / "resbench"
    run(tmp_path, command, "validate", "smoke", PYTHONPATH=str(installed))


def test_editable_install_finds_the_suites_of_the_checkout(tmp_path: Path) -> None:
    output = python(tmp_path, FIND_SUITES, PYTHONPATH="")
    assert Path(output.splitlines()[1]) == ROOT / "suites"
