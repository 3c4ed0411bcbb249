"""Streams that go away, modules that lie in the way, and commands that are asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resbench.process import output_of

from .mini import RESBENCH, own_environment

REPORT = f"{RESBENCH} report table3_mask"
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", f"set -o pipefail; {line}"]
    return subprocess.run(command, cwd=folder, env=own_environment(folder), text=True,
                          capture_output=True, timeout=120)  # fmt: skip


@pytest.mark.parametrize(
    ("where", "why"),
    [
        pytest.param(">/dev/full", "No space left on device", marks=FULL),
        (">&-", "Bad file descriptor"),
    ],
)
def test_a_report_that_cannot_be_printed_is_a_fault_in_one_line(
    tmp_path: Path, where: str, why: str
) -> None:
    done = shell(tmp_path, f"{REPORT} {where}")
    assert done.returncode == 3
    assert done.stderr == (
        f"standard output: {why}. The output is incomplete: send it elsewhere.\n"
    )


def test_a_reader_that_has_had_enough_is_no_error(tmp_path: Path) -> None:
    done = shell(tmp_path, f"{REPORT} | head -n 1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("where", [pytest.param("2>/dev/full", marks=FULL), "2>&-"])
def test_a_message_that_nobody_can_read_changes_no_exit_code(tmp_path: Path, where: str) -> None:
    assert shell(tmp_path, f"{RESBENCH} report nosuchsuite {where}").returncode == 2
    assert shell(tmp_path, f"{REPORT} {where}").returncode == 0


def test_a_closed_stream_is_not_the_next_file_to_be_opened(tmp_path: Path) -> None:
    opens = (
        "from resbench.process import settle; settle(); print('x' * 9999); print(open('f', 'w'))"
    )
    shell(tmp_path, f'{sys.executable} -c "{opens}" >&- 2>&- <&-')
    assert not (tmp_path / "f").exists() or (tmp_path / "f").read_bytes() == b""


@pytest.mark.parametrize("how", ["-m resbench", "-P -m resbench"])
def test_the_interpreter_starts_the_command_without_the_working_directory(
    tmp_path: Path, how: str
) -> None:
    for name in ("click", "random", "rich", "msgspec", "difflib"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from here')")
    done = shell(tmp_path, f"{sys.executable} {how} plan smoke --format json")
    assert done.returncode == 0, done.stderr
    assert '"workers"' in done.stdout


def test_a_command_is_asked_without_the_variables_of_git_and_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/somewhere")
    asked = "import os; print([name for name in os.environ if name.startswith('GIT_')])"
    assert output_of(sys.executable, "-c", asked, timeout_s=60) == "[]\n"
    assert output_of(sys.executable, "-c", "raise SystemExit(1)", timeout_s=60) is None
    assert output_of(str(tmp_path / "none"), timeout_s=60) is None


def test_where_no_temporary_folder_can_be_used_the_results_hold_such_files(tmp_path: Path) -> None:
    code = (
        "import sys, os, tempfile; from pathlib import Path\n"
        "from resbench.process import need_temporary_files\n"
        "if sys.argv[2:]: tempfile._candidate_tempdir_list = lambda: []\n"
        "need_temporary_files(Path(sys.argv[1]))\n"
        "print(tempfile.gettempdir(), os.environ.get('TMPDIR'))"
    )
    env = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    ask = (sys.executable, "-c", code, str(tmp_path))
    usual = subprocess.run(ask, env=env, capture_output=True, text=True, check=True).stdout.split()
    assert usual[0] != str(tmp_path)
    assert usual[1] == "None"
    none = subprocess.run([*ask, "no"], env=env, capture_output=True, text=True, check=True)
    assert none.stdout.split() == [str(tmp_path)] * 2
