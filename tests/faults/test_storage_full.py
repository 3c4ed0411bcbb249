"""Promise 6: a full or failing disk keeps the last good state, leaves no temporary, is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from resbench.errors import EnvironmentFault
from resbench.store.atomic import append_line, write_atomic
from resbench.store.layout import open_for_writing

from ..mini import python, ran
from .storage_strike import refuse
from .test_storage_kills import prepare

ERRORS = [
    ("write", "ENOSPC", "No space left on device"),
    ("fsync", "EIO", "Input/output error"),
    ("/^rename", "ENOSPC", "No space left on device"),
    ("openat", "EROFS", "Read-only file system"),
]
EVERY = [
    pytest.param(action, 1, marks=pytest.mark.slow, id=f"{action}-all")
    for action in ("epoch", "commit", "merge")
]


@pytest.mark.parametrize(
    ("action", "step"), [("replace", 1), ("epoch", 3), ("commit", 3), ("merge", 4), *EVERY]
)
def test_refused_system_call_is_named_and_loses_nothing(
    tmp_path: Path, action: str, step: int
) -> None:
    template = tmp_path / "template"
    refuse(action, template, prepare(action, template), ERRORS, step)


LIMITED = """
import resource, sys
from pathlib import Path
from resbench.errors import EnvironmentFault
from resbench.store.atomic import append_line, write_atomic
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    {action}
except EnvironmentFault as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ('write_atomic(folder / "a.json", bytes(5000))', "a.json"),
        ('append_line(folder / "rows.jsonl", {{"text": "x" * 5000}})', "rows.jsonl"),
    ],
)
def test_file_beyond_the_limit_is_refused_whole(tmp_path: Path, action: str, name: str) -> None:
    write_atomic(tmp_path / "a.json", b"old")
    append_line(tmp_path / "rows.jsonl", {"epoch": 1})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code = LIMITED.format(action=action.format())
    assert python(tmp_path, code, str(tmp_path)).startswith(f"{tmp_path / name}: File too large. ")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_control_a_careless_writer_loses_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"old" * 500)
    code = LIMITED.format(action='(folder / "a.json").write_bytes(bytes(5000))')
    done = ran(tmp_path, sys.executable, "-c", code, str(tmp_path))
    assert "File too large" in done.stderr
    assert (tmp_path / "a.json").read_bytes() == bytes(1000)


def test_full_disk_is_reported_before_training(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes((256 << 10) - 8192))
    with pytest.raises(EnvironmentFault, match=r"user '\w+': .*results: No space left on device"):
        open_for_writing(small_disk / "results")
    assert list((small_disk / "results").iterdir()) == []
