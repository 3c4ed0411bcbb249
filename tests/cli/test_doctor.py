"""`resbench doctor`: each check, and the line that its fault gives."""

from __future__ import annotations

import errno
import shutil
import signal
import socket
import subprocess
import threading
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from resbench.cli import doctor
from resbench.store.layout import open_for_writing

from ..faults.running import gone
from ..mini import RESBENCH, executable, own_environment, resbench, wait_until
from .invoke import Outcome, Shell

Patch = pytest.MonkeyPatch
Usage = namedtuple("Usage", "total used free")


def lines(outcome: Outcome) -> dict[str, tuple[str, str]]:
    """Check -> its mark and its text."""
    assert outcome.err == ""
    rows = (line.split(maxsplit=2) for line in outcome.out.splitlines())
    return {check: (mark, text) for mark, check, text in rows}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: Patch, tmp_path: Path) -> None:
    """No training in this process, and no tools but what a test makes."""
    monkeypatch.setattr(doctor, "_short_run", lambda *_: [b"the same bits"])
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_doctor_that_is_ended_leaves_no_folder_and_no_training(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = (RESBENCH, "doctor", "--device", "cpu", "--results", str(tmp_path))
    surrounded = own_environment(tmp_path.parent)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=surrounded) as doctor:
        wait_until(lambda: list(tmp_path.glob(".doctor-*/*/runs")), "the training")
        children = psutil.Process(doctor.pid).children(recursive=True)
        doctor.send_signal(number)
        assert doctor.wait(60) == 128 + number
    assert children
    wait_until(lambda: all(map(gone, children)), "the end of the training")
    assert not list(tmp_path.iterdir())


def test_a_sound_machine_trains_and_nothing_is_left_behind(tmp_path: Path) -> None:
    done = resbench(tmp_path, "doctor", "--device", "cpu", PATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    found = lines(Outcome(0, done.stdout, ""))
    assert list(found) == ["disk", "locks", "device", "training", "data", "MLflow", "Slurm"]
    assert {mark for mark, _ in found.values()} == {"ok"}
    assert found["training"][1] == "a short run gave the same bits twice"
    assert found["data"][1].startswith("digits; not here: cifar10, cifar100 (`resbench data fetch")
    assert not (tmp_path / "results").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_command_that_sweeps_the_results_leaves_the_checks_their_folder(
    shell: Shell, tmp_path: Path, monkeypatch: Patch
) -> None:
    there = []

    def train(folder: Path, *_: str) -> list[bytes]:
        open_for_writing(tmp_path)
        there.append(folder.parent.is_dir())
        return []

    monkeypatch.setattr(doctor, "_short_run", train)
    assert faulty(shell) == {}
    assert there == [True, True]


def faulty(shell: Shell, *words: object) -> dict[str, str]:
    """Check -> text, of the checks that fail."""
    outcome = shell("doctor", *words)
    found = {check: text for check, (mark, text) in lines(outcome).items() if mark == "FAULT"}
    assert outcome.code == (3 if found else 0)
    return found


def test_other_bits_the_second_time_are_a_fault(shell: Shell, monkeypatch: Patch) -> None:
    assert faulty(shell) == {}
    monkeypatch.setattr(doctor, "_short_run", lambda folder, *_: [folder.name.encode()])
    assert "gave different bits the second time" in faulty(shell)["training"]


def test_a_lock_that_two_processes_get_is_a_fault(shell: Shell, monkeypatch: Patch) -> None:
    monkeypatch.setattr("resbench.store.locks.fcntl.flock", lambda *_: None)
    found = faulty(shell)
    assert list(found) == ["locks"]
    assert "two processes get the same lock" in found["locks"]


def test_a_full_disk_is_a_fault(shell: Shell, monkeypatch: Patch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 2**28))
    assert "0.2 GiB are free, too little" in faulty(shell)["disk"]


def test_a_results_folder_that_cannot_be_one_is_a_fault_and_the_rest_is_checked(
    shell: Shell, tmp_path: Path, monkeypatch: Patch
) -> None:
    (tmp_path / "file").write_text("")
    found = faulty(shell, "--results", tmp_path / "file")
    assert "file: a file, not a folder. Choose another results folder" in found.pop("disk")
    assert found == {}

    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryDirectory", refuse)
    assert list(found := faulty(shell)) == ["disk"]
    assert found["disk"].startswith(f"{tmp_path}: Permission denied. Change its permissions")


def test_a_gpu_that_is_not_there_is_a_fault_and_nothing_is_trained_on_it(shell: Shell) -> None:
    found = faulty(shell, "--device", "cuda:7")
    assert list(found) == ["device"]
    assert "nvidia-smi lists no such GPU" in found["device"]


def test_a_server_of_mlflow_that_does_not_answer_is_a_fault(
    shell: Shell, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    found = faulty(shell)["MLflow"]
    assert found.startswith("http://127.0.0.1:9: no answer (")
    assert "secret" not in found


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", "answers; the first export shows whether it accepts runs"),
        (b"HTTP/1.0 401 Unauthorized\r\n\r\n", "answers; it wants the credentials"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", None),
        (b"SSH-2.0\r\n", None),
    ],
)
def test_a_server_of_mlflow_with_a_password_or_a_token_is_none(
    shell: Shell, monkeypatch: Patch, answer: bytes, text: str | None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
        outcome = shell("doctor")
        thread.join()
    mark, said = lines(outcome)["MLflow"]
    assert mark == ("FAULT" if text is None else "ok")
    assert (text or "no answer (") in said
    assert "secret" not in said


def test_a_slurm_that_does_not_answer_is_a_fault_and_one_without_a_cluster_is_none(
    shell: Shell, tmp_path: Path
) -> None:
    for name in ("sbatch", "scontrol"):
        executable(tmp_path / name, "echo 'no controller' >&2; exit 1")
    assert faulty(shell)["Slurm"] == "no controller (scontrol)."
    no_cluster = "scontrol: fatal: Could not establish a configuration source"  # its words
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho '{no_cluster}' >&2; exit 1\n")
    assert faulty(shell) == {}
