"""What surrounds a command: line ends, encodings, devices, logs, a shell's wildcard."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from resbench.suite.load import SOURCES, suite_folder

from ..factory import completed
from ..mini import RESBENCH, ran
from .invoke import Shell

ROOT = Path(__file__).resolve().parents[2]


def git(folder: Path, *words: str) -> None:
    name = ("-c", "user.name=n", "-c", "user.email=e@e", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True)


def test_in_a_folder_that_was_removed_the_line_names_it(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = f"cd gone && rmdir ../gone && exec {RESBENCH} status"
    done = ran(tmp_path, "sh", "-c", script)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("the current folder: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("protected", [True, False])
def test_a_clone_with_converted_line_ends_verifies_or_names_the_cause(
    tmp_path: Path, shell: Shell, protected: bool
) -> None:
    origin = tmp_path / "origin"
    run = completed(origin / "results", 1)
    git(tmp_path, "init", "origin")
    if protected:
        shutil.copy(ROOT / ".gitattributes", origin)
    git(origin, "add", "-A", "-f")
    git(origin, "commit", "-m", "Runs")
    git(tmp_path, "-c", "core.autocrlf=true", "clone", "origin", "clone")
    results = tmp_path / "clone" / "results"
    metrics = results / "runs" / run.key[:16] / "metrics.jsonl"
    assert (b"\r\n" in metrics.read_bytes()) is not protected
    found = shell("verify --results", results)
    if protected:
        assert (found.code, found.out) == (0, "1 record verified, 0 problems\n")
        return
    assert found.code == 1
    assert "CRLF line endings" in found.out
    assert "core.autocrlf" in found.out
    assert "train this run again" not in found.out, "nothing is lost"
    metrics.write_bytes(metrics.read_bytes().replace(b"5", b"6", 1))
    edited = shell("verify --results", results)
    assert "CRLF" in edited.out, "spec.json comes first"


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path: Path, shell: Shell) -> None:
    fifo = tmp_path / "report.md"
    os.mkfifo(fifo)
    (tmp_path / "runs").mkdir()
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_text()), daemon=True)
    reader.start()
    found = shell("report table3_mask --output", fifo)
    reader.join(60)
    assert (found.code, found.out) == (0, "")
    assert "# " in got[0]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_device_is_written_into_and_a_link_leads_to_its_file(
    tmp_path: Path, shell: Shell
) -> None:
    assert shell("report table3_mask --output /dev/null").code == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    (tmp_path / "link.md").symlink_to("real.md")
    (tmp_path / "runs").mkdir()
    assert shell("report table3_mask --output", tmp_path / "link.md").code == 0
    assert (tmp_path / "link.md").is_symlink()
    assert "# " in (tmp_path / "real.md").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_that_refuses_is_one_line(shell: Shell) -> None:
    found = shell("report table3_mask --output /dev/full")
    assert (found.code, found.out, found.err.count("\n")) == (3, "", 1)
    assert found.err.startswith("/dev/full: ")


def test_a_pack_does_not_replace_a_pipe(tmp_path: Path, shell: Shell) -> None:
    completed(tmp_path / "results", 1)
    os.mkfifo(tmp_path / "x.tar")
    found = shell("pack", tmp_path / "x.tar", "--results", tmp_path / "results")
    assert found.code == 2
    assert "not a plain file" in found.err
    assert stat.S_ISFIFO((tmp_path / "x.tar").stat().st_mode)


@pytest.mark.parametrize("encoding", ["latin-1", "cp932", "utf-8"])
def test_a_character_that_the_encoding_lacks_is_replaced(tmp_path: Path, encoding: str) -> None:
    done = subprocess.run(
        [RESBENCH, "report", "table3_mask", "table4_noise"], cwd=tmp_path, capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert "table4_noise" in done.stdout.decode(encoding)


def test_what_a_shell_finds_among_the_suites_is_valid(tmp_path: Path, shell: Shell) -> None:
    files = sorted(suite_folder().glob("*.yaml"))
    assert suite_folder() / SOURCES in files
    found = shell("validate", *files)
    assert (found.code, found.err) == (0, "")
    assert re.search(r"sources\.yaml: \d+ sources: ok\n", found.out)
    wrong = tmp_path / SOURCES
    wrong.write_text("version: 1\nsorces: {}\n")
    refused = shell("validate", wrong)
    assert refused.code == 2
    assert f"{wrong}:2:1: " in refused.err
