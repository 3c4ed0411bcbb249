from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from resbench.errors import EnvironmentFault, StorageFault
from resbench.store.atomic import (
    UNSWEPT,
    append_line,
    atomic_file,
    dump_json,
    fault,
    load_object,
    read_file,
    sweep,
    temporary_in,
    whole_lines,
    write_atomic,
)

TEXT = "Ünïcode \u2028 \r\n \x1b[31m"
ROWS: list[dict[str, Any]] = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "text": TEXT}, {}]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_replaces_the_whole_file_or_keeps_it_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"a long first text")
    write_atomic(path, b"short")

    def interrupted() -> None:
        with atomic_file(path) as file:
            file.write(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"short"
    assert names(tmp_path) == ["a.json"]


def test_bytes_are_on_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        assert order[-1] == "folder" or os.fstat(descriptor).st_size == 3
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        order.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_atomic(tmp_path / "a", b"new")
    assert order == ["file", "rename", "folder"]


def test_every_line_is_on_disk_before_the_return_and_so_is_the_name_of_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    order: list[str | bytes] = []

    def synced(descriptor: int) -> None:
        facts = os.fstat(descriptor)
        if os.path.samestat(facts, path.stat()):
            order.append(path.read_bytes())
        else:
            assert os.path.samestat(facts, tmp_path.stat())
            order.append("folder")

    monkeypatch.setattr(os, "fsync", synced)
    append_line(path, {"epoch": 1})
    append_line(path, {"epoch": 2})
    assert order == [b'{"epoch":1}\n', "folder", b'{"epoch":1}\n{"epoch":2}\n']


def test_a_file_system_that_cannot_sync_a_folder_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int) -> None:
        def synced(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", synced)

    refuse(errno.EINVAL)
    write_atomic(tmp_path / "a", b"new")
    append_line(tmp_path / "b", {})
    assert names(tmp_path) == ["a", "b"]
    refuse(errno.EIO)
    with pytest.raises(StorageFault, match="/a: Input/output error"):
        write_atomic(tmp_path / "a", b"newer")


DISK = ["ENOSPC", "EDQUOT", "EFBIG", "EACCES", "EPERM", "EROFS", "EIO"]


@pytest.mark.parametrize("name", [*DISK, "ENAMETOOLONG", "ELOOP", "EISDIR"])
def test_what_the_disk_refuses_would_stop_every_run_and_a_bad_path_only_its_own(name: str) -> None:
    number = getattr(errno, name)
    error = fault(Path("a"), OSError(number, os.strerror(number)))
    assert isinstance(error, StorageFault) == (name in DISK)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.json", r"a\.json: Is a directory\. "),
        ("nowhere/a.json", r"nowhere/a\.json: No such file or directory"),
    ],
)
def test_refused_write_names_the_path_and_the_reason(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "a.json" / "in the way").mkdir(parents=True)
    with pytest.raises(EnvironmentFault, match=said):
        write_atomic(tmp_path / name, b"new")
    assert names(tmp_path) == ["a.json"]


def test_new_files_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", b"")
        append_line(tmp_path / "b", {})
    finally:
        os.umask(old)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "ab"] == [0o640, 0o640]


def test_planted_link_is_replaced_or_refused_but_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious\n")
    link = tmp_path / "metrics.jsonl"
    link.symlink_to(outside)
    with pytest.raises(EnvironmentFault, match="Links are not followed"):
        append_line(link, ROWS[0])
    with pytest.raises(EnvironmentFault, match="Links are not followed"):
        read_file(link)
    write_atomic(link, b"new")
    assert not link.is_symlink()
    assert outside.read_bytes() == b"precious\n"


def test_reading_a_pipe_or_more_than_the_limit_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "record.json")
    with pytest.raises(EnvironmentFault, match="not a plain file"):
        read_file(tmp_path / "record.json")
    path = tmp_path / "big"
    path.touch()
    os.truncate(path, 1 << 40)  # sparse: takes no disk, and would take a terabyte of memory
    with pytest.raises(EnvironmentFault, match="1099511627776 bytes, more than"):
        read_file(path)


def test_sweep_takes_temporaries_only_and_no_target_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_bytes(b"{}")
    temporary_in(tmp_path).write_bytes(b"x")
    (temporary_in(tmp_path) / "runs").mkdir(parents=True)
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_bytes(b"x")
    temporary_in(tmp_path).symlink_to(target)
    (tmp_path / ".tmp-backup").mkdir()  # a user's own
    with atomic_file(tmp_path / "runs.tar", UNSWEPT) as file:  # another process's, without the lock
        file.write(b"x")
        sweep(tmp_path)
    assert names(tmp_path) == [".tmp-backup", "record.json", "runs.tar", "target"]
    assert names(target) == ["precious"]


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": -Infinity}', "[1]", "", "{", "[" * 100_000])
def test_what_is_no_json_object_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        load_object(text)


def test_any_text_survives_json() -> None:
    value = {"path": os.fsdecode(b"\xff\xfe"), "name": TEXT}
    text = dump_json(value)
    assert text.isascii()
    assert load_object(text) == value


def test_line_cut_at_every_byte_is_dropped_and_repaired(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for row in ROWS:
        append_line(path, row)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut for end in ends)
        assert [json.loads(line) for line in whole_lines(path)] == ROWS[:kept]
        for row in ROWS[kept:]:
            append_line(path, row)
        assert path.read_bytes() == whole
