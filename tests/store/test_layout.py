from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest

from resbench.errors import EnvironmentFault, UsageError
from resbench.store import layout
from resbench.store.atomic import temporary_in
from resbench.store.layout import RunFolder, is_marked, open_for_writing
from resbench.store.locks import Lock, wait_lock
from resbench.store.scan import scan
from resbench.store.verify import verify_run
from resbench.suite.schema import IDENTIFIER

from ..factory import completed, folder_of

HOSTILE = [
    "", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\0b", "a b", "a\n", "-a", "_a", ".a",
    "A", "ä", "а", "ﬁ", "a" * 65, "a.b", "~", "$HOME", "%2e%2e",
]  # fmt: skip
"""Among them a Cyrillic letter and a ligature."""


PLAIN = ["a", "0", "table4_noise", "a-b_c", "a" * 64]
NO_KEYS = ["0" * 15, "0" * 63, "0" * 65, "g" * 64, "A" * 64]


def test_plain_names_are_identifiers_and_only_hex_keys_make_paths(tmp_path: Path) -> None:
    assert [name for name in HOSTILE + PLAIN if re.match(IDENTIFIER, name)] == PLAIN
    for name in HOSTILE + NO_KEYS:
        with pytest.raises(UsageError, match="run key"):
            RunFolder(tmp_path, name)


def test_every_path_of_a_run_lies_in_its_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "0123456789abcdef" * 4)
    assert run.path == tmp_path / "runs" / "0123456789abcdef"
    paths = [path for name in vars(RunFolder) if isinstance(path := getattr(run, name), Path)]
    assert {run.spec, run.record, run.weights, run.checkpoint, run.log} < set(paths)
    assert all(path in (run.path, run.path / path.name) for path in paths)


@pytest.mark.parametrize("planted", ["runs", "run"])
def test_planted_link_leads_nothing_out_of_the_results(tmp_path: Path, planted: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    results = tmp_path / "results"
    run = folder_of(results)
    link = run.path if planted == "run" else run.path.parent
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with pytest.raises(EnvironmentFault, match=f"{link.name}: a link; "):
        run.create()
    if planted == "runs":
        with pytest.raises(EnvironmentFault, match="runs: a link; "):
            open_for_writing(results)
    assert list(outside.iterdir()) == []
    assert len(scan(results).problems) == 1
    assert not scan(results).incomplete


def test_new_folder_is_marked_with_its_format(tmp_path: Path) -> None:
    results = tmp_path / "a" / "b"
    assert not is_marked(results)
    open_for_writing(results)
    assert is_marked(results)
    written = (results / "resbench.json").stat()
    open_for_writing(results)
    again = (results / "resbench.json").stat()
    assert (again.st_ino, again.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    assert (results / "resbench.json").read_text() == '{"format":1}\n'
    assert sorted(path.name for path in results.iterdir()) == [".lock", "resbench.json", "runs"]


def test_what_a_command_killed_in_its_probe_left_is_swept_by_the_next(tmp_path: Path) -> None:
    open_for_writing(tmp_path)
    left = temporary_in(tmp_path)
    left.write_bytes(bytes(100))
    open_for_writing(tmp_path)
    assert not left.exists()


def test_commands_that_start_at_once_take_no_probe_from_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_for_writing(tmp_path)
    unlink, raced = os.unlink, list[str]()

    def after_another_start(path: str, **options: int) -> None:
        if not raced:
            raced.append(path)
            wait_lock(tmp_path).close()
        unlink(path, **options)

    # As on NFS, Lustre and GPFS, where a file without a name has one for a moment.
    monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False)
    monkeypatch.setattr(os, "unlink", after_another_start)
    open_for_writing(tmp_path)
    assert raced


def test_commands_that_start_at_once_in_a_new_folder_mark_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow tells a folder from its copies by that file."""
    found = list[os.stat_result]()

    def wait_for_another_start(folder: Path) -> Lock:
        monkeypatch.setattr(layout, "wait_lock", wait_lock)
        open_for_writing(folder)
        found.append((folder / "resbench.json").stat())
        return wait_lock(folder)

    monkeypatch.setattr(layout, "wait_lock", wait_for_another_start)
    open_for_writing(tmp_path)
    assert os.path.samestat(found[0], (tmp_path / "resbench.json").stat())


def test_runs_that_lost_their_marker_get_it_back(tmp_path: Path) -> None:
    run = completed(tmp_path)
    open_for_writing(tmp_path)
    assert is_marked(tmp_path)
    assert verify_run(run) == ()


def test_a_marker_of_an_earlier_resbench_is_read(tmp_path: Path) -> None:
    (tmp_path / "resbench.json").write_text('{"format":1,"kind":"user"}\n')
    open_for_writing(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "damaged"), ("[]", "damaged"), ('{"format": 2}', "format 2"), ("{}", "format None")],
)
def test_unreadable_marker_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "resbench.json").write_text(content)
    with pytest.raises(EnvironmentFault, match=rf"resbench\.json: .*{said}"):
        open_for_writing(tmp_path)


def test_what_cannot_be_a_results_folder_is_named_with_its_user(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match=r"/file: a file, not a results folder\. Choose"):
        open_for_writing(tmp_path / "file")
    for path in (tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(EnvironmentFault, match=r"results folder, user '\w+': .*/(file|x+)"):
            open_for_writing(path)


def test_no_decision_is_made_by_times_of_files(tmp_path: Path) -> None:
    runs = [completed(tmp_path, seed) for seed in range(2)]
    before = scan(tmp_path)
    for run, time_s in zip(runs, (0, 4_102_444_800), strict=True):  # 1970 and 2100
        for path in [*run.path.iterdir(), run.path]:
            os.utime(path, (time_s, time_s))
    assert scan(tmp_path) == before
    assert [verify_run(run) for run in runs] == [(), ()]
