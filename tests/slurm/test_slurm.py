"""Workers on a real Slurm: `make test-slurm`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from resbench.store.layout import RunFolder
from resbench.store.state import RunState, Status

from ..faults.running import EPOCHS, epochs_in, prepare, record_in, run_in
from ..mini import (
    RESBENCH,
    outputs,
    ran,
    resbench,
    run_folders,
    started,
    state_of,
    suite_of,
    wait_until,
    write_suite,
)

pytestmark = pytest.mark.slurm
SUBMIT = (
    "run", "mini.yaml", "-j1", "--devices=cpu", "--executor", "slurm", "--slurm", "gres=gpu:1"
)  # fmt: skip
"""Slurm's GPUs are names only."""
ARL = (*SUBMIT, "--cell", "arl")
"""Submits the worker of one run."""


def asked(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def queue() -> dict[str, str]:
    """Job -> its state, of all jobs that have not ended."""
    rows = asked("squeue", "-h", "-r", "-o", "%i %T").splitlines()
    return dict(row.split() for row in rows)


def restarts(job: str) -> int:
    text = asked("scontrol", "show", "job", job)
    return int(text.partition("Restarts=")[2].split()[0])


def submitted(folder: Path, *words: str) -> list[str]:
    """Submit workers and return their jobs."""
    before = queue()
    done = resbench(folder, *words)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "submitted to Slurm as " in done.stderr
    return sorted(queue().keys() - before.keys())


def at_work(folder: Path, more_than: int = 0) -> RunState:
    """Wait until the ARL run has some epochs; return its state."""
    run = run_in(folder)
    wait_until(lambda: len(epochs_in(run)) > more_than, f"epoch {more_than + 1}")
    return state_of(run)


def all_ended() -> None:
    wait_until(lambda: not queue(), "the jobs to end")


def logs(folder: Path) -> str:
    return "".join(path.read_text() for path in (folder / "results" / "jobs").iterdir())


@pytest.fixture(scope="session")
def unbroken(slurm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ARL run, trained without Slurm."""
    folder = prepare(tmp_path_factory.mktemp("unbroken"))
    done = ran(folder, RESBENCH, "run", "mini.yaml", "--no-mirror", "--cell", "arl")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(slurm: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with the suite; no job outlives the test."""
    yield prepare(tmp_path)
    subprocess.run(["scontrol", "update", "node=ALL", "state=resume"], capture_output=True)
    if jobs := list(queue()):
        subprocess.run(["scancel", *jobs], check=True)
    all_ended()


def assert_resumed_to_the_same_bits(folder: Path, unbroken: Path) -> None:
    all_ended()
    assert record_in(folder).timing.pieces == 2, logs(folder)
    assert outputs(folder / "results") == outputs(unbroken / "results")


def test_workers_train_each_run_once_in_arrays_as_large_as_allowed(
    slurm: Path, tmp_path: Path
) -> None:
    """Twelve runs, seven workers, of which two at a time have a GPU, at most five an array."""
    write_suite(tmp_path, suite_of(total=1, seeds=(1, 2, 3, 4, 5, 6)))
    jobs = submitted(tmp_path, *SUBMIT, "--workers", "7")
    assert [job.split("_")[1] for job in jobs] == ["0", "1", "2", "3", "4", "0", "1"]
    all_ended()
    runs = run_folders(tmp_path / "results")
    assert len(runs) == 12
    pieces = [json.loads(run.record.read_text())["timing"]["pieces"] for run in runs]
    assert pieces == [1] * 12
    done = [line for line in logs(tmp_path).splitlines() if "] done" in line]
    assert len([line for line in done if "already recorded" not in line]) == 12
    assert len(list((tmp_path / "results" / "jobs").iterdir())) == 7
    again = resbench(tmp_path, *SUBMIT)
    assert "Nothing to do: 12 runs recorded" in again.stderr
    assert queue() == {}


def test_status_joins_the_queue_with_the_runs_and_cancel_ends_the_jobs_for_good(
    folder: Path,
) -> None:
    write_suite(folder, suite_of(total=500, seeds=(1, 2, 3)))
    jobs = submitted(folder, *SUBMIT, "--workers", "3")
    (run, *_) = wait_until(
        lambda: [r for r in runs_of(folder) if len(epochs_in(r)) > 1], "a run to be under way"
    )
    status = json.loads(resbench(folder, "status", "mini.yaml", "--format", "json").stdout)
    assert sorted(job["id"] for job in status["jobs"]) == jobs
    states = {job["id"]: job["state"] for job in status["jobs"]}
    assert sorted(states.values()) == ["PENDING", "RUNNING", "RUNNING"]
    (seen,) = (r for r in status["unfinished"] if r["key"][:16] == run.key)
    assert states[seen["job"]] == "RUNNING"
    assert seen["epoch"] > 0
    text = resbench(folder, "status", "mini.yaml").stdout
    assert f"- {seen['job']}: running on " in text
    assert f", job {seen['job']} (" in text
    done = resbench(folder, "cancel")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("3 jobs cancelled: ")
    all_ended()
    assert state_of(run).status is Status.INTERRUPTED
    assert resbench(folder, "cancel").stdout == "0 jobs cancelled.\n"


def runs_of(folder: Path) -> list[RunFolder]:
    return run_folders(folder / "results") if (folder / "results" / "runs").is_dir() else []


@pytest.mark.parametrize("name", ["USR1", "USR2", "TERM"])
def test_a_signalled_worker_is_requeued_and_resumes_to_the_same_bits(
    name: str, folder: Path, unbroken: Path
) -> None:
    (job,) = submitted(folder, *ARL)
    at_work(folder)
    asked("scancel", f"--signal={name}", "--batch", job)
    assert_resumed_to_the_same_bits(folder, unbroken)
    assert "1 run left for the job that Slurm requeues." in logs(folder)
    assert logs(folder).count(" to do, 0 recorded in ") == 2, "the log goes on where it was"


def test_a_worker_that_slurm_requeues_in_mid_run_resumes_to_the_same_bits(
    folder: Path, unbroken: Path
) -> None:
    (job,) = submitted(folder, *ARL)
    at_work(folder)
    asked("scontrol", "requeue", job)
    assert_resumed_to_the_same_bits(folder, unbroken)


def test_a_preempted_worker_makes_room_and_resumes_to_the_same_bits(
    folder: Path, unbroken: Path
) -> None:
    (job,) = submitted(folder, *ARL)
    at_work(folder)
    asked("sbatch", "--partition=high", "--gres=gpu:2", "--output=/dev/null", "--wrap=sleep 1")
    wait_until(lambda: restarts(job) == 1, "the preemption")
    assert_resumed_to_the_same_bits(folder, unbroken)
    assert "DUE TO PREEMPTION" in logs(folder)


def test_a_worker_resumes_to_the_same_bits_when_its_node_is_back(
    folder: Path, unbroken: Path
) -> None:
    (job,) = submitted(folder, *ARL)
    at_work(folder)
    asked("scontrol", "update", "node=ALL", "state=down", "reason=test")
    wait_until(lambda: queue() == {job: "PENDING"}, "the job to wait again")
    assert not run_in(folder).record.exists()
    asked("scontrol", "update", "node=ALL", "state=resume")
    assert_resumed_to_the_same_bits(folder, unbroken)


def test_a_killed_worker_leaves_a_run_that_the_next_one_resumes_to_the_same_bits(
    folder: Path, unbroken: Path
) -> None:
    submitted(folder, *ARL)
    state = at_work(folder, more_than=3)
    os.kill(psutil.Process(state.pid).ppid(), signal.SIGKILL)
    all_ended()
    assert not run_in(folder).record.exists()
    submitted(folder, *ARL)
    all_ended()
    assert outputs(folder / "results") == outputs(unbroken / "results")


def test_a_worker_ends_before_its_limit_and_is_requeued_while_work_is_left(folder: Path) -> None:
    """By its own budget: the notice that Slurm gives here is a signal that is ignored."""
    write_suite(folder, suite_of(total=5000))
    (job,) = submitted(folder, *ARL, "--slurm", "time=2", "--slurm", "signal=B:URG@1")
    wait_until(lambda: any(map(epochs_in, runs_of(folder))), "the first epoch")
    wait_until(lambda: restarts(job) == 1, "the worker to be requeued")
    (run,) = run_folders(folder / "results")
    assert state_of(run).epoch > 0
    assert "TIME LIMIT" not in logs(folder)
    assert "stopping at the next step" not in logs(folder)
    assert "1 run left for the job that Slurm requeues." in logs(folder)


def test_a_job_that_starts_after_the_suite_was_changed_trains_nothing(folder: Path) -> None:
    asked("scontrol", "update", "node=ALL", "state=drain", "reason=test")
    (job,) = submitted(folder, *ARL)
    assert queue() == {job: "PENDING"}
    write_suite(folder, suite_of(total=EPOCHS + 1))
    asked("scontrol", "update", "node=ALL", "state=resume")
    all_ended()
    assert "The code, the suite or the data has changed since the job was submitted" in logs(folder)
    assert run_folders(folder / "results") == []


def test_a_controller_that_restarts_is_waited_for(folder: Path, slurm: Path) -> None:
    asked("scontrol", "shutdown", "slurmctld")
    wait_until(lambda: subprocess.run(["squeue"], capture_output=True).returncode, "its end")
    with started(folder, RESBENCH, *ARL) as process:
        wait_until((folder / "results" / "jobs").is_dir, "the command to come to Slurm")
        warned = resbench(folder, "status")
        assert "warning: no view of Slurm's queue: " in warned.stderr
        assert warned.returncode == 0
        assert process.poll() is None
        asked("slurmctld")
        _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    all_ended()
    assert record_in(folder).timing.pieces == 1
