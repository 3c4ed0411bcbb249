"""Streams that go away, modules that lie in the way, and commands that are asked."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from resbench.process import PYTHON, output_of

from .mini import RESBENCH, Done, python, ran, suite_of, write_suite

REPORT = f"{RESBENCH} report table3_mask"
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def shell(folder: Path, line: str) -> Done:
    return ran(folder, "bash", "-c", f"set -o pipefail; {line}")


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
    """Libraries write to descriptor 1 itself, as native code does; the second is the control."""
    for call, content in (("settle()", b""), ("", b"said")):
        code = f"""
import os
from contextlib import suppress
from resbench.process import settle
{call}
file = open("f", "wb")
with suppress(OSError):
    os.write(1, b"said")
"""
        done = shell(tmp_path, f"{sys.executable} -c '{code}' >&-")
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / "f").read_bytes() == content


@pytest.mark.parametrize("how", ["-m resbench", "-P -m resbench"])
def test_the_interpreter_starts_the_command_without_the_working_directory(
    tmp_path: Path, how: str
) -> None:
    for name in ("click", "random", "rich", "msgspec", "difflib"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from here')")
    done = shell(tmp_path, f"{sys.executable} {how} plan smoke --format json")
    assert done.returncode == 0, done.stderr
    assert '"workers"' in done.stdout


@pytest.mark.parametrize(("start", "code"), [("", 129), ("trap '' HUP; ", 0)])
def test_a_command_under_nohup_survives_the_terminal(tmp_path: Path, start: str, code: int) -> None:
    """As `nohup resbench ui`; the first is the control."""
    program = (
        "import os, signal; from resbench.process import unwind_on_signals; "
        "unwind_on_signals(); os.kill(os.getpid(), signal.SIGHUP)"
    )
    line = f"{start}exec {shlex.quote(sys.executable)} -c {shlex.quote(program)}"
    assert shell(tmp_path, line).returncode == code


def test_output_that_is_not_utf_8_is_taken_as_it_is() -> None:
    said = output_of(*PYTHON, "-c", "import os; os.write(1, b'/caf\\xe9')", timeout_s=60)
    assert said is not None
    assert os.fsencode(said) == b"/caf\xe9"


def test_a_results_folder_that_is_not_utf_8_is_refused_in_one_line(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xe9")).mkdir()
    except OSError as error:
        pytest.skip(f"this file system has no such names: {error.strerror}")  # that of macOS
    write_suite(tmp_path, suite_of(total=1))
    for words in ("run mini.yaml --cell arl", "status --format json", "report --output r.html"):
        done = shell(tmp_path, f"{RESBENCH} {words} --results $(printf 'caf\\351')")
        assert done.returncode == 2, done.stderr
        place, _, said = done.stderr.splitlines()[-1].partition(": ")
        assert place.removesuffix("/runs").endswith("caf\\udce9")
        assert said == "this name is not UTF-8. Choose another."
        assert "Traceback" not in done.stderr


def test_where_no_temporary_folder_can_be_used_the_results_hold_such_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys, os, tempfile; from pathlib import Path\n"
        "from resbench.process import need_temporary_files\n"
        "if sys.argv[2:]: tempfile._candidate_tempdir_list = lambda: []\n"
        "need_temporary_files(Path(sys.argv[1]))\n"
        "print(tempfile.gettempdir(), os.environ.get('TMPDIR'))"
    )
    monkeypatch.delenv("TMPDIR", raising=False)
    folder, variable = python(tmp_path, code, str(tmp_path)).split()
    assert (folder != str(tmp_path), variable) == (True, "None")
    assert python(tmp_path, code, str(tmp_path), "no").split() == [str(tmp_path)] * 2
