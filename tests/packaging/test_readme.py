"""Every command that README.md shows works, or says here why a test cannot run it.

A ```` ```console ```` block holds commands behind ``$ ``, continued by a closing backslash, and
their output. A new command goes into one of the two tables below.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from resbench.analysis.declared import declared
from resbench.store.layout import open_for_writing
from resbench.suite.load import load_suite, suite_names
from tests.cli.invoke import invoke
from tests.mini import resbench

README = Path(__file__).resolve().parents[2] / "README.md"
RECORDED = "14201862db3dcdd4"
"""A shipped run: Attention-56 ARL, tier cpu, seed 1."""

# Run in the order of the README in a folder with one recorded run and no data, with the exit code
# each must have: 3 is the line that says which data is missing.
EXECUTED = {
    "resbench plan": 0,
    "resbench plan table4_noise": 0,
    "resbench report smoke": 0,
    "resbench report table1_arl_vs_nal": 0,
    "resbench report --output report.html": 0,
    "resbench explain table1_arl_vs_nal attention-56/arl": 0,
    "resbench status": 0,
    "resbench models": 0,
    "resbench verify": 0,
    "resbench run table3_mask --data cifar10=FOLDER": 3,
    "resbench run table1_arl_vs_nal --tier tiny": 3,
    "resbench run table1_arl_vs_nal --tier cpu": 3,
    "resbench plan table1_arl_vs_nal --budget 9m": 0,
    "resbench run table1_arl_vs_nal --budget 9m": 3,
    "resbench pack results.tar": 0,
    "resbench merge results.tar": 0,
    "resbench report --format latex --output tables.tex": 0,
    "resbench new smith2024": 0,
}
NOT_EXECUTED = {
    "resbench run smoke": "a minute of training; a test below trains one of its cells",
    "resbench data fetch cifar10": "needs a network; tests/data has an archive of its own",
    "resbench ui": "serves until it is stopped; tests/tracking runs it",
    "resbench run table1_arl_vs_nal --executor slurm --workers 8 --slurm gres=gpu:1 "
    "--slurm time=4:00:00": "needs a cluster; tests/slurm starts one",
    "resbench run smoke --results weights --keep-weights": "a minute of training; "
    "tests/cli/test_masks.py trains one",
    "resbench masks RUN RUN --results weights": "needs weights; tests/cli/test_masks.py has some",
    "resbench doctor": "its answer depends on the machine; tests/cli/test_doctor.py runs it",
    "make demo": "installs an environment of its own; other tests run the smoke suite",
    "make test": "runs this very test",
}


def fences(text: str) -> list[tuple[str, str]]:
    """Return language and body of each fenced block of a Markdown text."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """Return the commands of the console blocks of a Markdown text, in order."""
    bodies = [body.replace("\\\n", " ") for language, body in fences(text) if language == "console"]
    lines = [line for body in bodies for line in body.splitlines()]
    shown = [line[2:].partition("  #")[0] for line in lines if line.startswith("$ ")]
    return [" ".join(command.split()) for command in shown]


def unlisted(text: str, *tables: Mapping[str, object]) -> list[str]:
    """Return the commands of a Markdown text that stand in none of the tables."""
    return [command for command in commands(text) if not any(command in table for table in tables)]


def test_every_command_is_executed_or_excused() -> None:
    assert unlisted(README.read_text(), EXECUTED, NOT_EXECUTED) == []


def test_every_listed_command_stands_in_the_readme() -> None:
    assert sorted({*EXECUTED, *NOT_EXECUTED} - {*commands(README.read_text())}) == []


def test_no_command_hides_in_another_kind_of_block() -> None:
    assert [body for language, body in fences(README.read_text()) if language in SHELLS] == []


def test_commands_end_as_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    folder = tmp_path / "work folder"
    run = Path("results") / "runs" / RECORDED
    shutil.copytree(README.parent / run, folder / run)
    open_for_writing(folder / "results")
    monkeypatch.chdir(folder)
    for command in commands(README.read_text()):
        if command in EXECUTED:
            done = invoke(capsys, *shlex.split(command)[1:])
            assert done.code == EXECUTED[command], f"$ {command}\n{done.err}"


def test_a_smoke_cell_learns_the_digits(tmp_path: Path) -> None:
    done = resbench(tmp_path, "run", "smoke", "--cell", "local/arl", "--no-mirror", "-j1")
    assert done.returncode == 0, done.stderr
    [record] = (tmp_path / "results" / "runs").glob("*/record.json")
    assert json.loads(record.read_text())["result"]["test_top1_err"] < 10


SHELLS = {"bash", "sh", "shell", "zsh", "shellsession"}
SAMPLE = """
```console
$ resbench plan smoke \\
    --format json
{"$ not": "a command"}
$ resbench fly
```
```yaml
$ neither
```
"""


def test_a_new_command_is_noticed() -> None:
    assert commands(SAMPLE) == ["resbench plan smoke --format json", "resbench fly"]
    assert unlisted(SAMPLE, {"resbench fly": 2}) == ["resbench plan smoke --format json"]


def test_the_numbers_of_runs_are_those_of_the_suites() -> None:
    loaded = [load_suite(name) for name in suite_names()]
    suites = {suite.suite.name: declared(suite) for suite in loaded if suite.suite.train}
    keys = {
        name: {cell.at_seed(seed).key for cell in suite.cells if cell.spec for seed in suite.seeds}
        for name, suite in suites.items()
    }
    tables = set().union(*(keys[name] for name in keys if name.startswith("table")))
    said = f"are {len(tables)} runs, all suites together {len(set().union(*keys.values()))};"
    assert said in README.read_text()
