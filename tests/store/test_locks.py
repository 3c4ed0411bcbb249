from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from resbench.errors import EnvironmentFault, StorageFault
from resbench.store import locks
from resbench.store.atomic import temporary_in
from resbench.store.layout import RunFolder
from resbench.store.locks import is_locked, try_lock
from resbench.store.state import Status, read_state, write_state

from ..factory import unfinished

HOLD = """
import os, sys, time
from pathlib import Path
from resbench.store.locks import try_lock
lock = try_lock(Path(sys.argv[1]))
assert lock is not None
{extra}
print("held", flush=True)
time.sleep(600)
"""
FORK = "child = os.fork()\nif not child: time.sleep(600)\nprint(child, flush=True)"
PLAIN_FORK = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1] + "/.lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
child = os.fork()
if not child: time.sleep(600)
print(child, flush=True)
print("held", flush=True)
time.sleep(600)
"""
EXEC = """
import subprocess
print(subprocess.Popen(["sleep", "600"], close_fds=False).pid, flush=True)
"""


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def soon(test: Callable[[], bool], limit_s: float = 5.0) -> bool:
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if test():
            return True
        time.sleep(0.01)
    return False


def test_lock_excludes_and_kill_9_frees_it(tmp_path: Path) -> None:
    holder = start(HOLD.format(extra=""), tmp_path)
    assert line(holder) == "held"
    assert try_lock(tmp_path) is None  # else it waits for ever
    assert is_locked(tmp_path)
    end(holder)
    assert not is_locked(tmp_path)
    lock = try_lock(tmp_path)
    assert lock is not None
    lock.release()


@pytest.mark.parametrize("extra", [FORK, EXEC], ids=["fork", "exec"])
def test_child_of_a_killed_holder_does_not_keep_the_lock(tmp_path: Path, extra: str) -> None:
    holder = start(HOLD.format(extra=extra), tmp_path)
    child = int(line(holder))
    try:
        assert line(holder) == "held"
        assert is_locked(tmp_path)
        end(holder)
        os.kill(child, 0)  # the child lives on
        assert soon(lambda: not is_locked(tmp_path))
    finally:
        os.kill(child, signal.SIGKILL)


def test_control_a_plain_flock_is_kept_by_a_forked_child(tmp_path: Path) -> None:
    holder = start(PLAIN_FORK, tmp_path)
    child = int(line(holder))
    try:
        assert line(holder) == "held"
        end(holder)
        assert is_locked(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
    assert soon(lambda: not is_locked(tmp_path))


def test_forked_child_does_not_free_its_parents_lock(tmp_path: Path) -> None:
    fork_and_end = "child = os.fork()\nif not child: os._exit(0)\nos.waitpid(child, 0)"
    holder = start(HOLD.format(extra=fork_and_end), tmp_path)
    assert line(holder) == "held"
    assert is_locked(tmp_path)
    end(holder)


def test_of_many_processes_at_once_one_gets_the_run(tmp_path: Path) -> None:
    race = """
import sys, time
from pathlib import Path
from resbench.store.locks import try_lock
print("ready", flush=True)
sys.stdin.readline()
lock = try_lock(Path(sys.argv[1]))
print("won" if lock else "lost", flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", race, str(tmp_path)]
    runners = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    assert all(line(runner) == "ready" for runner in runners)
    for runner in runners:
        assert runner.stdin is not None
        runner.stdin.write("go\n")
        runner.stdin.flush()
    outcomes = [line(runner) for runner in runners]
    for runner in runners:
        runner.communicate("\n")
    assert sorted(outcomes) == ["lost"] * 5 + ["won"]


def test_lock_is_taken_again_after_release(tmp_path: Path) -> None:
    for _ in range(3):
        with locks.wait_lock(tmp_path) as lock:
            assert try_lock(tmp_path) is None
        lock.release()  # a second time: does nothing


def test_looking_makes_no_file_and_disturbs_no_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []
    probe = os.open(tmp_path / ".lock", os.O_RDONLY | os.O_CREAT, 0o666)
    fcntl.flock(probe, fcntl.LOCK_SH)  # another process inside is_locked()
    monkeypatch.setattr(locks.time, "sleep", lambda _: os.close(probe))
    lock = try_lock(tmp_path)
    assert lock is not None
    lock.release()


def test_lock_sweeps_what_a_killed_writer_left(tmp_path: Path) -> None:
    left = temporary_in(tmp_path)
    left.write_bytes(b"half")
    with locks.wait_lock(tmp_path):
        assert not left.exists()


def test_folder_replaced_while_locking_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    flock = fcntl.flock

    def replaced_meanwhile(descriptor: int, operation: int) -> None:
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        (folder / ".lock").touch()
        flock(descriptor, operation)

    monkeypatch.setattr(locks.fcntl, "flock", replaced_meanwhile)
    with pytest.raises(EnvironmentFault, match="replaced meanwhile"):
        try_lock(folder)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_file_system_without_locks_is_named_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.raises(StorageFault, match=r"\.lock: this file system cannot lock files") as told:
        try_lock(tmp_path)
    assert "Choose a results folder on a local disk" in str(told.value)
    assert not is_locked(tmp_path)


def test_planted_lock_link_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".lock").symlink_to(tmp_path / "outside")
    with pytest.raises(EnvironmentFault, match="Links are not followed"):
        try_lock(folder)
    assert not (tmp_path / "outside").exists()


def test_state_tells_who_runs_and_that_it_is_gone(tmp_path: Path) -> None:
    run = unfinished(tmp_path, epochs=0)
    with locks.wait_lock(run.path):
        write_state(run, Status.RUNNING, epoch=7)
        written = read_state(run)
        assert written is not None
        assert (written.status, written.pid) == (Status.RUNNING, os.getpid())
    state = read_state(run)
    assert state is not None
    assert (state.status, state.epoch) == (Status.INTERRUPTED, 7)
    assert state.reason == f"process {os.getpid()} on {written.host} is gone"


@pytest.mark.parametrize("text", [b"", b"{", b'{"status": "odd"}', b'{"status": "running"}', b"[]"])
def test_unreadable_state_decides_nothing(tmp_path: Path, text: bytes) -> None:
    run = RunFolder(tmp_path, "0" * 16)
    run.path.mkdir(parents=True)
    assert read_state(run) is None
    run.state.write_bytes(text)
    assert read_state(run) is None
