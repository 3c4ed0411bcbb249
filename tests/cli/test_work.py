"""Submitting workers: the script, what Slurm is asked, and how a worker behaves in a job.

Slurm's commands are stand-ins here; tests/slurm asks a real one.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resbench.cli import work
from resbench.cli.work import not_taken, requeue_for_rest
from resbench.errors import EnvironmentFault
from resbench.process import PYTHON, STOP_SIGNALS
from resbench.runner import cluster, devices
from resbench.runner.devices import choose
from resbench.runner.progress import Progress
from resbench.runner.session import PlanEnd, SessionSettings
from resbench.runner.throughput import Throughput
from resbench.store.layout import RunFolder
from resbench.store.locks import wait_lock
from resbench.store.records import write_spec
from resbench.store.scan import scan
from resbench.store.state import Status, write_state

from ..factory import finish, suite_under
from ..faults.running import epochs_in, failing, prepare, run_in, spec, wait_for_epochs, workers_of
from ..mini import (
    PATIENCE_S,
    RESBENCH,
    executable,
    resbench,
    run_folders,
    started,
    state_of,
    suite_of,
    write_suite,
)
from ..runner.planning import planned
from .invoke import Shell

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]
RUN = ("run", "mini.yaml", "-j1", "--executor")


class Slurm:
    """Commands of Slurm on the PATH that note how they are called, and a job with number 7."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()

    def answer(self, name: str, body: str = "") -> None:
        executable(self.bin / name, f'echo "{name} $*" >> {self.bin}/asked\n{body}')

    def show_job(self, *, end: str = "Unknown", state: str = "RUNNING") -> None:
        text = f"JobId=7 JobState={state} Requeue=1 StartTime=2026-01-01T00:00:00 EndTime={end} X=1"
        self.answer("scontrol", f"echo '{text}'")

    @property
    def asked(self) -> list[str]:
        return (self.bin / "asked").read_text().splitlines()


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: Patch) -> Slurm:
    slurm = Slurm(tmp_path)
    monkeypatch.setenv("PATH", f"{slurm.bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return slurm


def soon(seconds: float) -> str:
    """A time as Slurm writes it where the format is ``%s``."""
    return str(int(time.time() + seconds))


def script_for_arl(folder: Path) -> str:
    """What would be submitted to train one run."""
    return resbench(folder, "run", "mini.yaml", "--cell=arl", "-j1", "--executor=print").stdout


@pytest.mark.slow
def test_local_workers_train_every_run_once(tmp_path: Path) -> None:
    write_suite(tmp_path, suite_of(total=1, seeds=(1, 2)))
    done = resbench(tmp_path, *RUN, "local", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert [run.record.exists() for run in run_folders(tmp_path / "results")] == [True] * 4
    logs = [path.read_text() for path in (tmp_path / "results" / "jobs").iterdir()]
    assert len(logs) == 2
    trained = [line for text in logs for line in text.splitlines() if "] done" in line]
    assert len([line for line in trained if "already recorded" not in line]) == 4


def test_the_script_has_the_options_of_user_suite_and_command_line_in_this_order(
    tmp_path: Path,
) -> None:
    write_suite(tmp_path)
    config = tmp_path / "config"
    config.mkdir()
    (config / "executors.yaml").write_text("slurm: {account: mine, partition: a, time: 1:30:00}\n")
    (tmp_path / "executors.yaml").write_text("slurm:\n  partition: b\n  exclusive:\n")
    words = (*RUN, "print", "--workers", "9", "--slurm", "time=4:00:00")
    done = resbench(
        tmp_path, *words, "--cell", "arl", "--slurm=comment=two words",
        RESBENCH_CONFIG_DIR=str(config),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *lines, cd, command = done.stdout.splitlines()
    assert first == "#!/bin/bash"
    assert subprocess.run(["bash", "-n", "-c", done.stdout], check=True).returncode == 0
    results = tmp_path / "results"
    assert {line.removeprefix("#SBATCH --") for line in lines} == {
        "array=0-0",  # one run needs no second worker
        f"chdir={results}", f"output={results}/jobs/%A_%a.log",
        "job-name=resbench", "open-mode=append", "requeue", "signal=B:USR1@30",
        "account=mine", "partition=b", "exclusive", "time=4:00:00", "comment='two words'",
    }  # fmt: skip
    assert cd == f"cd {tmp_path} || exit"
    assert command.startswith("exec ")
    assert " run mini.yaml --cell arl --jobs 1 --no-mirror --results=" in command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--workers", "2"), "--workers and --slurm: need --executor slurm."),
        (("--slurm", "time=1"), "--workers and --slurm: need --executor slurm."),
        (("--executor", "slurm", "--budget", "1h"), "Set that limit with --slurm time=1:30:00."),
        (("--executor=print", "--slurm", "array=1"), "sbatch option array: resbench sets it."),
        (("--executor=print", "--slurm", "wait"), "sbatch option wait: resbench sets it."),
        (("--executor=print", "--slurm", "-p=x"), "sbatch option -p: use its long name"),
        (("--executor=print", "--slurm", "time=1\nrm x"), "sbatch option time: use its long name"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    write_suite(tmp_path)
    done = resbench(tmp_path, "run", "mini.yaml", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


@pytest.mark.parametrize("text", ["partition: a\n", "slurm: a\n", "slurm: {nodes: [1]}\n"])
def test_a_wrong_executors_file_is_refused_with_its_place(text: str, tmp_path: Path) -> None:
    write_suite(tmp_path)
    (tmp_path / "executors.yaml").write_text(text)
    done = resbench(tmp_path, "run", "mini.yaml", "--executor=print")
    assert done.returncode == 2
    assert done.stderr
    assert all(line.startswith("executors.yaml:1:") for line in done.stderr.splitlines())


def test_a_folder_whose_name_slurm_would_expand_is_taken_as_it_is(tmp_path: Path) -> None:
    script = cluster.script(("run",), tmp_path / "50%a", 1, {})
    assert f"#SBATCH --output={tmp_path}/50%%a/jobs/%A_%a.log" in script.splitlines()


def test_without_slurm_one_line_says_so(tmp_path: Path) -> None:
    write_suite(tmp_path)
    (tmp_path / "results").mkdir()
    few = tmp_path / "few"
    few.mkdir()
    for name in ("bash", "git"):
        if found := shutil.which(name):
            (few / name).symlink_to(found)
    for words in ((*RUN, "slurm"), ("cancel",)):
        done = resbench(tmp_path, *words, PATH=str(few))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
        assert "not on the PATH. Run this on a login node of a Slurm cluster." in done.stderr
    assert resbench(tmp_path, "status", PATH=str(few)).stderr == "", "which needs no Slurm"
    installed = few / "squeue"  # its words, where its package is there, but no cluster
    why = "squeue: fatal: Could not establish a configuration source"
    installed.write_text(f"#!{few}/bash\necho '{why}' >&2; exit 1\n")
    installed.chmod(0o755)
    done = resbench(tmp_path, "cancel", PATH=str(few))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert f"{why} (squeue). Run this on a login node of a Slurm cluster." in done.stderr


@pytest.mark.parametrize(
    "said",
    [
        "Socket timed out",
        "Batch job submission failed: Zero Bytes were transmitted or received",
        "Slurm backup controller in standby mode",
    ],
)
def test_a_busy_controller_is_asked_again_and_arrays_are_no_larger_than_slurm_allows(
    slurm: Slurm, monkeypatch: Patch, said: str
) -> None:
    monkeypatch.setattr(cluster, "PAUSES_S", (0, 0, 0))
    slurm.answer("scontrol", "echo 'MaxArraySize            = 5'")
    busy = f'if [ "$(wc -l < $0.n)" -le 2 ]; then echo "sbatch: error: {said}" >&2; exit 1'
    slurm.answer("sbatch", f"cat > $0.script; echo >> $0.n\n{busy}; fi; echo '7;cluster'")
    assert cluster.submit("the script", 12) == ["7", "7", "7"]
    tried = [line for line in slurm.asked if line.startswith("sbatch")]
    assert tried[:3] == ["sbatch --parsable --array=0-4"] * 3, "twice in vain"
    assert [line.split("=")[1] for line in tried[3:]] == ["0-4", "0-1"]
    assert (slurm.bin / "sbatch.script").read_text() == "the script"


def test_what_asking_again_does_not_mend_is_not_asked_again(slurm: Slurm) -> None:
    slurm.answer("scontrol", "echo 'MaxArraySize = 5'")
    refusal = "sbatch: error: Batch job submission failed: Invalid account"
    slurm.answer("sbatch", f"cat > /dev/null; echo '{refusal}' >&2; exit 1")
    with pytest.raises(EnvironmentFault, match="Invalid account"):
        cluster.submit("the script", 1)
    assert len(slurm.asked) == 2


def test_variables_for_slurm_change_neither_the_jobs_nor_the_answers(
    slurm: Slurm, monkeypatch: Patch
) -> None:
    sbatch = ("SBATCH_JOB_NAME", "SBATCH_NO_REQUEUE", "SBATCH_WAIT")
    for name in (*sbatch, "SQUEUE_USERS", "SLURM_TIME_FORMAT"):
        monkeypatch.setenv(name, "relative")
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    for name in ("scontrol", "sbatch"):
        slurm.answer(name, "env > $0.env")
    cluster.submit("", 1)
    seen = (slurm.bin / "sbatch.env").read_text().splitlines()
    assert {"SBATCH_ACCOUNT=mine", "SLURM_TIME_FORMAT=%s"} <= set(seen)
    assert not [line for line in seen if line.endswith("=relative")]


def test_workers_are_submitted_shown_and_cancelled(slurm: Slurm, tmp_path: Path) -> None:
    write_suite(tmp_path, suite_of(seeds=(1, 2)))
    slurm.answer("scontrol", "echo 'MaxArraySize = 5'")
    slurm.answer("sbatch", "cat > $0.script; echo '7;cluster'")
    words = (*RUN, "slurm", "--workers", "2")
    done = resbench(tmp_path, *words)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        f"2 workers submitted to Slurm as 7; logs: {tmp_path}/results/jobs/. "
        "`resbench status` shows them, `resbench cancel` ends them.\n"
    )
    script = (slurm.bin / "sbatch.script").read_text()
    assert script == resbench(tmp_path, *words, "--executor=print").stdout
    place = (tmp_path / "results").resolve()
    slurm.answer("squeue", f"echo '7_0|RUNNING|1:00:00|node3|None|{place}'")
    slurm.answer("scancel")
    status = resbench(tmp_path, "status", "mini.yaml", "--format", "markdown")
    assert "- 7_0: running on node3" in status.stdout
    assert resbench(tmp_path, "cancel").stdout == "1 job cancelled: 7_0\n"
    assert slurm.asked[-1] == "scancel 7_0"


@pytest.mark.parametrize(("limit_s", "before_s"), [(7200.0, 90.0), (200.0, 50.0)])
def test_a_worker_stops_90_s_or_a_quarter_of_the_time_before_the_limit_of_its_job(
    limit_s: float, before_s: float, tmp_path: Path, monkeypatch: Patch, shell: Shell
) -> None:
    write_suite(tmp_path)
    monkeypatch.chdir(tmp_path)
    *_, submitted = shell("run mini.yaml --executor print").out.split()
    deadlines: list[float] = []

    def train(runs: object, settings: SessionSettings, *_: object, **__: object) -> PlanEnd:
        assert settings.deadline is not None
        deadlines.append(settings.deadline)
        return PlanEnd()

    monkeypatch.setattr(work, "train", train)
    monkeypatch.setattr(cluster, "job_left_s", lambda: limit_s)
    earliest = time.monotonic() + limit_s - before_s
    assert shell("run mini.yaml", submitted).code == 0
    assert earliest <= deadlines[0] <= time.monotonic() + limit_s - before_s


def test_only_the_jobs_of_this_results_folder_are_its_own(slurm: Slurm, tmp_path: Path) -> None:
    place = tmp_path.resolve()
    rows = (
        f"7_0|RUNNING|1:00:00|node3|None|{place}",
        f"7_1|PENDING|2:00:00||Resources|{place}",
        f"8_0|RUNNING|1:00:00|node4|None|{place}2",
    )
    slurm.answer("squeue", "\n".join(f"echo '{row}'" for row in rows))
    slurm.answer("scancel")
    running, waiting = cluster.jobs_of(tmp_path)
    assert (running.id, running.node, waiting.reason) == ("7_0", "node3", "Resources")
    cluster.cancel(tmp_path)
    *_, listed, cancelled = slurm.asked
    assert f" --user={os.getuid()} " in listed, "and nobody else's"
    assert cancelled == "scancel 7_0 7_1"


def test_a_job_has_the_time_until_its_limit(slurm: Slurm, monkeypatch: Patch) -> None:
    slurm.show_job(end=soon(86400))
    left_s = cluster.job_left_s()
    assert left_s is not None
    assert 80000 < left_s <= 86400
    slurm.show_job(end="Unknown")
    assert cluster.job_left_s() is None
    slurm.answer("scontrol", "exit 1")
    assert cluster.job_left_s() is None, "then Slurm's notice has to do"
    monkeypatch.delenv("SLURM_JOB_ID")
    slurm.show_job(end=soon(86400))
    assert cluster.job_left_s() is None, "not in a job"


def test_a_worker_of_another_suite_or_code_trains_nothing(tmp_path: Path) -> None:
    write_suite(tmp_path, suite_of(total=1))
    *_, submitted = resbench(tmp_path, "run", "mini.yaml", "--executor=print").stdout.split()
    write_suite(tmp_path, suite_of(total=2))
    done = resbench(tmp_path, "run", "mini.yaml", submitted)
    assert done.returncode == 3
    assert done.stderr == (
        "The code, the suite or the data has changed since the job was submitted, so nothing is "
        "trained. Submit again.\n"
    )
    assert run_folders(tmp_path / "results") == []
    write_suite(tmp_path, suite_of(total=1))
    assert resbench(tmp_path, "run", "mini.yaml", "--no-mirror", submitted).returncode == 0


def test_another_line_of_code_is_another_submission(tmp_path: Path, monkeypatch: Patch) -> None:
    for name in ("__init__.py", "stats/cells.py"):
        (tmp_path / "resbench" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "resbench" / name).write_text("")
    monkeypatch.setattr("resbench.__file__", str(tmp_path / "resbench" / "__init__.py"))
    before = cluster.fingerprint(())
    assert cluster.fingerprint(()) == before
    (tmp_path / "resbench" / "stats" / "cells.py").write_text("MARGIN_PP = 2.0\n")
    assert cluster.fingerprint(()) != before


def test_a_worker_makes_no_results_folder_where_the_shared_one_is_missing(tmp_path: Path) -> None:
    write_suite(tmp_path)
    done = resbench(tmp_path, "run", "mini.yaml", "--submitted=0")
    assert done.returncode == 3
    assert "results: not on this machine." in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("number", "state", "code", "requeued"),
    [
        (signal.SIGUSR1, "RUNNING", 0, 1),
        (signal.SIGTERM, "COMPLETING", 143, 0),  # cancelled, or preempted: then Slurm requeues it
    ],
)
def test_a_signal_stops_a_worker_cleanly_and_it_is_requeued_unless_slurm_ends_it(
    number: int, state: str, code: int, requeued: int, slurm: Slurm, tmp_path: Path
) -> None:
    prepare(tmp_path)
    slurm.show_job(state=state)
    plain, dawdling = (*PYTHON, "-m", "resbench"), failing({spec().key: "dawdle"}, ())
    script = script_for_arl(tmp_path).replace(shlex.join(plain), shlex.join(dawdling))
    with started(tmp_path, "bash", "-c", script) as process:
        wait_for_epochs(tmp_path, process, 1)
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, said
    assert slurm.asked.count("scontrol requeue 7") == requeued
    assert epochs_in(run_in(tmp_path)) == [1, 2]


def test_a_worker_with_nothing_left_to_take_is_not_requeued_and_does_not_wait(
    slurm: Slurm, tmp_path: Path
) -> None:
    """As other workers have everything in hand, who resume it themselves."""
    prepare(tmp_path)
    slurm.show_job()
    script = script_for_arl(tmp_path)
    with started(tmp_path, RESBENCH, "run", "mini.yaml", "--cell=arl", "--no-mirror") as other:
        wait_for_epochs(tmp_path, other, 0)
        (at_work,) = workers_of(other)
        at_work.suspend()
        try:
            with started(tmp_path, "bash", "-c", script) as process:
                _, said = process.communicate(timeout=PATIENCE_S)
        finally:
            at_work.resume()
    assert process.returncode == 0, said
    assert said.splitlines()[-1] == "0 done"
    assert "scontrol requeue 7" not in slurm.asked


@pytest.mark.parametrize(
    ("number", "epochs", "left_s", "requeued"),
    [
        (None, 5, 15, True),
        (None, 0, 15, False),  # an epoch is longer than the limit
        (signal.SIGUSR1, 5, 15, True),
        (signal.SIGUSR1, 0, 15, False),
        (signal.SIGUSR1, 0, 7200, True),  # preempted in its first epoch
        (signal.SIGUSR1, 0, None, True),
    ],
)
def test_a_job_is_requeued_only_where_the_next_time_brings_more(
    number: int | None, epochs: int, left_s: float | None, requeued: bool, slurm: Slurm,
    tmp_path: Path,
) -> None:  # fmt: skip
    slurm.show_job(end="Unknown" if left_s is None else soon(left_s))
    summary = PlanEnd(left=planned(tmp_path), signal=number, epochs=epochs)
    assert (requeue_for_rest(summary, 7) == 0) is requeued
    assert ("scontrol requeue 7" in slurm.asked) is requeued
    summary.faults.append("the disk is full")
    assert requeue_for_rest(summary, 7) == 7


def test_a_suite_that_was_broken_while_its_runs_were_trained_ends_no_command(
    tmp_path: Path, capsys: Capture
) -> None:
    (run, *_) = planned(tmp_path)
    suite = tmp_path / "broken.yaml"
    suite.write_text("[")
    summary = PlanEnd(ended={run.key: Status.DONE})
    assert work.conclude(summary, [str(suite)], tmp_path) == 0
    first, last = capsys.readouterr().err.splitlines()
    assert first == "1 done"
    assert last.startswith("See `resbench report")


def test_an_end_with_many_runs_names_some_and_counts_the_others(
    tmp_path: Path, capsys: Capture
) -> None:
    runs = planned(tmp_path, suite_of(seeds=(1, 2, 3, 4)))
    folders = [RunFolder(tmp_path, run.key) for run in runs[:5]]
    for folder in folders:
        folder.create()
        folder.log.write_text("why\n")
    ended = {run.key: Status.FAILED for run in runs[:5]}
    assert work.conclude(PlanEnd(ended=ended, left=runs[1:], epochs=1), [], tmp_path) == 1
    logs = ", ".join(str(folder.log) for folder in folders[:3])
    labels = "; ".join(run.label for run in runs[1:6])
    assert capsys.readouterr().err.splitlines() == [
        "0 done, 5 failed, 7 left",
        f"Failed runs are tried again next time; logs: {logs} and 2 more",
        f"Left: {labels}; and 2 more. Run the same command to resume.",
    ]


def test_an_end_shows_the_first_results_and_counts_the_others(
    tmp_path: Path, capsys: Capture
) -> None:
    smoke = suite_under("smoke")
    runs = [finish(tmp_path, smoke, cell.id, 1, 5.0) for cell in smoke.cells if cell.spec][:10]
    ended = {run.key: Status.DONE for run in runs}
    assert work.conclude(PlanEnd(ended=ended), ["smoke"], tmp_path) == 0
    first, heading, *results, more, see = capsys.readouterr().err.splitlines()
    assert (first, heading) == ("10 done", "Measured, with the number of runs:")
    assert ["5.00 (1)" in line for line in results] == [True] * 8
    assert (more, see.startswith("See `resbench report smoke")) == ("  and 2 more", True)


def test_a_budget_is_not_called_too_short_where_another_process_has_the_runs(
    tmp_path: Path, capsys: Capture
) -> None:
    arl, nal = planned(tmp_path)
    short = "The budget is too short to start any of these runs"
    for elsewhere, said in (({arl.key, nal.key}, ["Left: "]), ({nal.key}, [short, "Left: "])):
        said = ["0 done, 2 left", *said, f"Another process is training {len(elsewhere)} of these."]
        assert work.conclude(PlanEnd(left=[arl, nal], elsewhere=elsewhere), [], tmp_path) == 0
        lines = capsys.readouterr().err.splitlines()
        assert [line[: len(text)] for line, text in zip(lines, said, strict=True)] == said


def test_an_epoch_shorter_than_the_budget_is_no_reason_that_the_budget_is_too_short(
    tmp_path: Path, capsys: Capture
) -> None:
    short = "The budget is too short to start any of these runs and train one epoch"
    for epoch_s, takes in ((0.3, ""), (32.0, "; the shortest epoch takes about 32 s")):
        work.conclude(PlanEnd(left=planned(tmp_path), epoch_s=epoch_s), [], tmp_path)
        assert capsys.readouterr().err.splitlines()[1] == f"{short}{takes}."


def test_a_signal_that_came_before_the_training_starts_none(tmp_path: Path) -> None:
    runs, settings = planned(tmp_path), SessionSettings(tmp_path, choose("cpu", 1))
    end = work.train(runs, settings, scan(tmp_path), mirror=True, signals=(signal.SIGTERM,))
    assert (end.left, end.ended, end.signal) == (runs, {}, signal.SIGTERM)


def test_a_signal_that_comes_while_the_training_is_prepared_starts_none(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    runs, settings = planned(tmp_path), SessionSettings(tmp_path, choose("cpu", 1))
    signals: list[int] = []

    def speeds(_: object) -> Throughput:
        signals.append(signal.SIGUSR1)
        return Throughput()

    monkeypatch.setattr(Throughput, "of", speeds)
    end = work.train(runs, settings, scan(tmp_path), mirror=False, signals=signals)
    assert (end.left, end.ended, end.signal) == (runs, {}, signal.SIGUSR1)


@pytest.mark.parametrize(("request_", "warned"), [("auto", True), ("cpu", False)])
def test_a_gpu_that_is_not_used_unasked_is_named_before_training(
    tmp_path: Path, monkeypatch: Patch, capsys: Capture,
    request_: str, warned: bool,
) -> None:  # fmt: skip
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(devices, "NODES", {"AMD": (str(tmp_path), "ROCm is not supported")})
    assert work.workers_on(choose("cpu", 2), request_) == "2 workers on CPU"
    said = "warning: there is an AMD GPU, but it cannot be used: ROCm is not supported.\n"
    assert capsys.readouterr().err == (said if warned else "")


def test_the_time_left_of_a_run_that_resumes_is_that_of_its_rest(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    (arl, nal), shown = planned(tmp_path), list[float]()

    class Ended:
        def __init__(self, _runs: object, _settings: object, _speeds: object, to: Progress) -> None:
            shown.append(to.remaining_s())

        def run(self, _signals: object) -> PlanEnd:
            return PlanEnd()

    monkeypatch.setattr(work, "Session", Ended)
    settings = SessionSettings(tmp_path, choose("cpu", 1))
    for epoch in (0, 3):
        run = RunFolder(tmp_path, arl.key)
        write_spec(run, arl.spec.canonical(), arl.stored_context())
        write_state(run, Status.INTERRUPTED, epoch=epoch)
        work.train([arl, nal], settings, scan(tmp_path), mirror=False, signals=())
    each = Throughput().seconds(nal.spec, settings.devices[0])
    assert shown == pytest.approx([2 * each, 1.25 * each])


@pytest.mark.parametrize("number", ["4709", "4711"])  # one task has the number of its array
def test_a_task_of_an_array_asks_of_itself_and_requeues_itself_only(
    number: str, slurm: Slurm, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", number)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    slurm.show_job()
    assert cluster.requeue()
    assert slurm.asked == ["scontrol show job 4711_3", "scontrol requeue 4711_3"]


def test_what_others_have_in_hand_or_have_finished_is_not_left(tmp_path: Path) -> None:
    runs = planned(tmp_path, suite_of(seeds=(1, 2)))
    recorded, locked, *_ = folders = [RunFolder(tmp_path, run.key) for run in runs]
    for folder in folders:
        folder.create()
    recorded.record.touch()
    with wait_lock(locked.path):
        assert not_taken(runs, tmp_path) == runs[2:]
    assert not_taken(runs, tmp_path) == runs[1:]


def test_a_signal_to_local_workers_stops_them_cleanly(tmp_path: Path) -> None:
    prepare(tmp_path)
    with started(tmp_path, RESBENCH, *RUN, "local", "--cell", "arl") as process:
        wait_for_epochs(tmp_path, process, 1)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert state_of(run_in(tmp_path)).status is Status.INTERRUPTED
    assert "Left: mini arl seed 1." in (tmp_path / "results/jobs/local_0.log").read_text()


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Let a test that stays in this process set handlers of signals."""
    before = {number: signal.signal(number, _fail) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
def test_local_workers_inside_of_a_users_job_are_not_in_it(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    variables = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
    for name in variables:
        monkeypatch.setenv(name, "7")
    cluster.jobs_folder(tmp_path).mkdir()
    assert cluster.run_here(f"test -z ${'$'.join(variables)}", 1, tmp_path) == 0


@pytest.mark.usefixtures("own_signals")
def test_one_local_worker_that_fails_is_enough_for_its_exit_code(tmp_path: Path) -> None:
    cluster.jobs_folder(tmp_path).mkdir()
    script = f"mkdir {shlex.quote(str(tmp_path / 'one'))} || exit 3"
    assert cluster.run_here(script, 2, tmp_path) == 3


@pytest.mark.usefixtures("own_signals")
def test_a_signal_while_local_workers_start_reaches_each_once_and_starts_no_other(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    start = subprocess.Popen

    def start_and_stop(command: tuple[str, ...], **options: Any) -> subprocess.Popen[bytes]:
        process = start(command, **options)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_stop)
    cluster.jobs_folder(tmp_path).mkdir()
    assert cluster.run_here("exec sleep 60", 2, tmp_path) == 128 + signal.SIGTERM
    assert len(list(cluster.jobs_folder(tmp_path).iterdir())) == 1


def _fail(number: int, _frame: object) -> None:
    raise AssertionError(f"signal {number} ended the starter")
