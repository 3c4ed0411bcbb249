from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from resbench.errors import EnvironmentFault, StorageFault
from resbench.store import locks
from resbench.store.atomic import temporary_in
from resbench.store.locks import is_locked, try_lock

from ..mini import raising, wait_until

HOLD = """
import os, subprocess, sys, time
from pathlib import Path
from resbench.store.locks import try_lock
lock = try_lock(Path(sys.argv[1]))
assert lock is not None
"""
PLAIN = """
import fcntl, os, sys, time
descriptor = os.open(sys.argv[1] + "/.lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
"""
FORK = "child = os.fork()\nif not child: time.sleep(600)\n"
EXEC = "child = subprocess.Popen(['sleep', '600'], close_fds=False).pid\n"
FORK_AND_END = "if not os.fork(): os._exit(0)\nos.wait()\nchild = os.getpid()\n"


@contextmanager
def holder(folder: Path, code: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds the folder's lock, and its child; both are gone in the end."""
    process = start(f"{code}print(child, flush=True)\ntime.sleep(600)", folder)
    child = int(line(process))
    try:
        yield process, child
    finally:
        for pid in (process.pid, child):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def free(folder: Path) -> bool:
    return not is_locked(folder)


@pytest.mark.parametrize("extra", [FORK, EXEC], ids=["fork", "exec"])
def test_lock_excludes_and_kill_9_frees_it_though_a_child_lives_on(
    tmp_path: Path, extra: str
) -> None:
    with holder(tmp_path, HOLD + extra) as (process, child):
        assert is_locked(tmp_path)
        assert try_lock(tmp_path) is None  # else it waits for ever
        process.kill()
        process.wait()
        os.kill(child, 0)  # the child lives on
        wait_until(lambda: free(tmp_path), "the lock")
        with locks.wait_lock(tmp_path):
            pass


def test_control_a_plain_flock_is_kept_by_a_forked_child(tmp_path: Path) -> None:
    with holder(tmp_path, PLAIN + FORK) as (process, _):
        process.kill()
        process.wait()
        assert is_locked(tmp_path)
    wait_until(lambda: free(tmp_path), "the lock")


def test_forked_child_does_not_free_its_parents_lock(tmp_path: Path) -> None:
    with holder(tmp_path, HOLD + FORK_AND_END):
        assert is_locked(tmp_path)


def test_lock_is_taken_again_after_release_and_sweeps_what_a_killed_writer_left(
    tmp_path: Path,
) -> None:
    for _ in range(3):
        left = temporary_in(tmp_path)
        left.write_bytes(b"half")
        with locks.wait_lock(tmp_path) as lock:
            assert not left.exists()
            assert try_lock(tmp_path) is None
        lock.close()  # a second time: does nothing


def test_looking_makes_no_file_and_disturbs_no_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []
    probe = os.open(tmp_path / ".lock", os.O_RDONLY | os.O_CREAT, 0o666)
    fcntl.flock(probe, fcntl.LOCK_SH)  # another process inside is_locked()
    assert not is_locked(tmp_path), "who looks is not at work"
    monkeypatch.setattr(locks.time, "sleep", lambda _: os.close(probe))
    lock = try_lock(tmp_path)
    assert lock is not None
    lock.close()


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
    monkeypatch.setattr(locks.fcntl, "flock", raising(OSError(number, os.strerror(number))))
    with pytest.raises(StorageFault, match=r"\.lock: this file system cannot lock files") as told:
        try_lock(tmp_path)
    assert "Choose a results folder on a local disk" in str(told.value)
    assert not is_locked(tmp_path)


def test_a_folder_that_cannot_be_swept_is_not_left_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "sweep", raising(OSError(errno.EIO, os.strerror(errno.EIO))))
    with pytest.raises(StorageFault, match="Input/output error"):
        try_lock(tmp_path)
    assert not is_locked(tmp_path)


def test_planted_lock_link_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".lock").symlink_to(tmp_path / "outside")
    with pytest.raises(EnvironmentFault, match="Links are not followed"):
        try_lock(folder)
    assert not (tmp_path / "outside").exists()
