"""What is not used is not imported: the command line answers before torch would be there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..mini import RESBENCH, resbench
from .invoke import imported_by, invoke

HEAVY = {"torch", "torchvision", "mlflow", "sklearn", "scipy", "pandas", "matplotlib", "seaborn"}


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["run", "--help"],
        ["report", "--help"],
        ["plan", "smoke"],
        ["validate", "smoke"],
        ["status"],
        ["models"],
        ["data", "list"],
        ["run", "table5_architecture"],
    ],
    ids=" ".join,
)
def test_a_light_verb_imports_nothing_heavy(command: list[str], tmp_path: Path) -> None:
    assert imported_by(*command, cwd=tmp_path) & HEAVY == set()


def test_a_plan_without_claims_asks_for_no_numpy(tmp_path: Path) -> None:
    assert imported_by("plan", "smoke", cwd=tmp_path) & {"numpy", "pydantic"} == set()


def test_finding_devices_imports_nothing_heavy() -> None:
    code = (
        "import sys; from resbench.runner.devices import choose; choose('auto', None); "
        "print(*(name for name in sys.modules if '.' not in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "resbench" in done.stdout
    assert set(done.stdout.split()) & HEAVY == set()


def test_help_names_every_verb_in_a_line(tmp_path: Path) -> None:
    done = resbench(tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for verb in ("run", "report", "plan", "status", "validate", "verify", "pack", "merge", "data"):
        assert f"\n  {verb} " in done.stdout


@pytest.mark.parametrize("command", [[], ["data"]])
def test_without_a_verb_the_help_page_is_shown(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, *command)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Usage: resbench")
    assert "Commands:\n" in outcome.err


def test_output_may_be_cut_off_by_its_reader(tmp_path: Path) -> None:
    command = [RESBENCH, "plan", "table1_arl_vs_nal", "table4_noise", "--format", "json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")


def test_on_windows_one_line_says_what_to_do(tmp_path: Path) -> None:
    code = "import sys; sys.platform = 'win32'; import resbench.cli.main"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "resbench: Windows lacks file locks and signals it needs. Use WSL.\n"
