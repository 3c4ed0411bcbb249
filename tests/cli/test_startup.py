"""What is not used is not imported: the command line answers before torch would be there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from resbench.cli.main import VERBS

from ..factory import finish, suite_under
from ..mini import ran, resbench
from .invoke import imported_by, invoke

HEAVY = {"torch", "torchvision", "mlflow", "sklearn", "scipy", "pandas", "matplotlib", "seaborn"}
ARL, NAL = "attention-56/arl", "attention-56/nal"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results that decide a claim."""
    folder = tmp_path_factory.mktemp("startup")
    suite = suite_under("table1_arl_vs_nal")
    for seed in (1, 2):
        finish(folder / "results", suite, ARL, seed, 5.0 + seed)
        finish(folder / "results", suite, NAL, seed, 6.0 + seed)
    return folder


@pytest.mark.parametrize(
    ("command", "never"),
    [
        ("--help", HEAVY),
        ("run --help", HEAVY),
        ("report --help", HEAVY),
        ("plan", HEAVY),
        ("plan smoke", HEAVY | {"numpy", "pydantic"}),
        ("plan table1_arl_vs_nal", HEAVY - {"scipy"}),
        ("validate smoke", HEAVY | {"numpy", "pydantic", "rich"}),
        ("status", HEAVY),
        ("models", HEAVY),
        ("data list", HEAVY),
        ("run table5_architecture", HEAVY),
        ("report table1_arl_vs_nal", HEAVY - {"scipy"}),
        ("explain table1_arl_vs_nal attention-56/arl", HEAVY - {"scipy"}),
        ("compare paper results", HEAVY - {"scipy"}),
    ],
)
def test_a_light_verb_imports_nothing_heavy(command: str, never: set[str], folder: Path) -> None:
    assert imported_by(*command.split(), cwd=folder) & never == set()


@pytest.mark.parametrize("verb", ["run", "plan", "report"])
def test_a_help_page_fits_on_a_terminal(verb: str, tmp_path: Path) -> None:
    done = resbench(tmp_path, verb, "--help", COLUMNS="80")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) <= 24, done.stdout


def test_help_names_every_verb_in_a_line(tmp_path: Path) -> None:
    done = resbench(tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for verb, line in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(line)}$", done.stdout, re.M)


@pytest.mark.parametrize("command", [(), ("data",)])
def test_without_a_verb_the_help_page_is_shown(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, *command)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Usage: resbench")
    assert "Commands:\n" in outcome.err


def test_on_windows_one_line_says_what_to_do(tmp_path: Path) -> None:
    code = "import sys; sys.platform = 'win32'; import resbench.cli.main"
    done = ran(tmp_path, sys.executable, "-c", code)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "resbench: Windows lacks file locks and signals it needs. Use WSL.\n"
