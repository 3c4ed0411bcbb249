"""What comes with the code: how to cite it, completion, and the workflow of a replication."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

import resbench

from ..cli.invoke import invoke
from ..factory import plant, suite_under
from ..mini import RESBENCH, ran

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "replication.yml"


def test_citation_and_package_name_the_same_version_licence_and_authors() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert cited["cff-version"] == "1.2.0"
    assert cited["version"] == project["version"] == resbench.__version__
    assert cited["license"] == project["license"]
    assert cited["authors"] == project["authors"]
    (paper,) = cited["references"]
    assert paper["url"] in project["urls"].values()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_line_of_the_page_makes_a_script_for_each_shell(shell: str, tmp_path: Path) -> None:
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("NOT CHECKED: click asks bash for its version, and there is none")
    page = (ROOT / "docs" / "automation.md").read_text("utf-8")
    assert f"_RESBENCH_COMPLETE={shell}_source resbench" in page
    done = ran(tmp_path, RESBENCH, _RESBENCH_COMPLETE=f"{shell}_source")
    assert (done.returncode, done.stderr) == (0, "")
    assert "_resbench_completion" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [("resbench re", "report"), ("resbench run --keep", "--keep-weights"),
     ("resbench report --format la", "latex"), ("resbench run smith2024/ta", "smith2024/ta"),
     ("resbench compare res", "res")],
)  # fmt: skip
def test_commands_options_choices_and_files_are_completed(
    words: str, expected: str, tmp_path: Path
) -> None:
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = ran(tmp_path, RESBENCH, **asked, _RESBENCH_COMPLETE="bash_complete")
    kind = "file" if words.endswith(expected) else "plain"
    assert f"{kind},{expected}" in done.stdout.splitlines()


def test_the_commands_of_the_workflow_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After `make demo`, whose result is planted here: tests/packaging/test_make.py has its own."""
    steps = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]["smoke"]["steps"]
    make, *commands = [shlex.split(step["run"]) for step in steps if "run" in step]
    assert make == ["make", "demo"]
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert recipe is not None
    assert "resbench run smoke --results demo/results" in recipe[1]
    monkeypatch.chdir(tmp_path)
    smoke = suite_under("smoke")
    plant(Path("demo/results"), smoke, smoke.cells[0].id, 1, test=[20.0, 10.0])
    assert [command[1] for command in commands] == ["verify", "report"]
    assert "--strict" in commands[-1], "a claim that is not confirmed fails the last step"
    for program, *arguments in commands:
        assert program == ".venv/bin/resbench"
        done = invoke(capsys, *arguments)
        assert done.code == 0, done.err
    assert Path("demo/report.html").stat().st_size > 10_000
