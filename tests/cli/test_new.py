"""``resbench new`` writes a paper that is valid and runs as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .invoke import Shell

PLAIN = {"sources.yaml", "protocols/smith2024.yaml", "table1.yaml"}
OWN = PLAIN | {"networks.py", "tiers/tiny.yaml"}


@pytest.mark.parametrize(
    ("options", "files"), [pytest.param((), PLAIN, marks=pytest.mark.slow), (("--networks",), OWN)]
)
def test_a_new_paper_validates_runs_at_tier_tiny_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell, options: tuple[str, ...],
    files: set[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    made = shell("new papers/smith2024", *options)
    assert made.code == 0, made.err
    folder = Path("papers/smith2024")
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == files == {str(Path(line).relative_to(folder)) for line in made.out.split()}
    for name in files - {"networks.py"}:
        first = (folder / name).read_text("utf-8").partition("\n")[0]
        schema = first.removeprefix("# yaml-language-server: $schema=")
        assert ((folder / name).parent / schema).is_file(), first
    validate, run = re.findall(r"`resbench ([^`]+)`", made.err)
    planned = shell("plan --devices cpu", folder / "table1.yaml").out
    assert ("network of your own is unknown" in planned) == ("networks.py" in files)
    checked = shell(validate)
    assert checked.out.endswith("2 cells, 4 runs, 0 published values, 1 claim: ok\n"), checked.err
    done = shell(f"{run} --no-mirror -j1 --devices cpu --seeds 1,")
    assert done.code == 0, done.err
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 2
    report = shell("report", folder / "table1.yaml").out
    assert "Smith2024, Table 1" in report


def test_nothing_of_the_users_is_overwritten(tmp_path: Path, shell: Shell) -> None:
    folder = tmp_path / "smith2024"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    for target, said in (
        (folder, "exists and is not empty"),
        (folder / "notes.txt", "Use small letters, digits"),
        (tmp_path / "Smith 2024", "Use small letters, digits"),
    ):
        done = shell("new", target)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert said in done.err
    assert {path.name for path in tmp_path.rglob("*")} == {"smith2024", "notes.txt"}
    (folder / "notes.txt").unlink()
    assert shell("new", folder).code == 0, "an empty folder may be there"


def test_the_folder_under_a_shell_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell
) -> None:
    folder = tmp_path / "smith2024"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for target in (".", folder):
        done = shell("new", target)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "is the working folder" in done.err
    assert not any(folder.iterdir())
