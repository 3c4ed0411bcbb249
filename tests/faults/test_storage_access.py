"""Promise 7: results that cannot be written are reported with path and user."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from resbench.store.layout import open_for_writing

from ..factory import complete, unfinished
from ..mini import python

NOBODY = 65534
OPEN = """
import os, sys
from pathlib import Path
from resbench.errors import ResbenchError
from resbench.store.layout import open_for_writing, RunFolder
from resbench.store.locks import try_lock
from resbench.store.scan import scan
if os.geteuid() == 0:  # only now: the interpreter itself may be root's alone
    os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})
folder = Path(sys.argv[1])
found = scan(folder)
print(len(found.records), len(found.problems))
try:
    {action}
    print("no fault")
except ResbenchError as error:
    print(error)
"""


@pytest.fixture
def results() -> Iterator[Path]:
    """A results folder with one run that anyone may read; pytest's own folders are private."""
    parent = Path(tempfile.mkdtemp())
    parent.chmod(0o755)
    folder = parent / "results"
    open_for_writing(folder)
    complete(unfinished(folder))
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(parent)


def as_nobody(folder: Path, action: str) -> tuple[str, str]:
    """What an unprivileged user sees: counts of a scan, and the fault."""
    code = OPEN.format(nobody=NOBODY, action=action)
    counts, said = python(Path.cwd(), code, str(folder)).splitlines()
    return counts, said


def set_modes(folder: Path, mode: int) -> None:
    for path in [*folder.rglob("*"), folder]:
        path.chmod(mode if path.is_dir() else mode & 0o666)


def test_read_only_results_are_reported_and_still_read(results: Path) -> None:
    set_modes(results, 0o555)
    counts, said = as_nobody(results, "open_for_writing(folder)")
    assert counts == "1 0"
    assert said.startswith("results folder, user ")
    assert f"{results}: Permission denied. Change its permissions or choose another" in said
    if os.geteuid() == 0:
        assert "user 'nobody'" in said


@pytest.mark.parametrize(
    ("action", "place"),
    [
        ("open_for_writing(folder / 'new')", "/results/new"),
        ("open_for_writing(folder / 'new/deeper')", "/results/new/deeper"),
        ("try_lock(next((folder / 'runs').glob('[0-9a-f]*')))", "/.lock"),
        ("RunFolder(folder, '0' * 64).create()", "/runs/0000000000000000"),
    ],
)
def test_what_cannot_be_made_or_written_is_named(results: Path, action: str, place: str) -> None:
    set_modes(results, 0o555)
    _, said = as_nobody(results, action)
    assert f"{place}: Permission denied" in said


def test_unreadable_run_is_one_problem(results: Path) -> None:
    (run,) = (results / "runs").glob("[0-9a-f]*")
    run.chmod(0)
    counts, _ = as_nobody(results, "pass")
    assert counts == "0 1"


def test_control_the_same_folder_is_taken_when_it_can_be_written(results: Path) -> None:
    set_modes(results, 0o777)
    _, said = as_nobody(results, "open_for_writing(folder)")
    assert said == "no fault"
