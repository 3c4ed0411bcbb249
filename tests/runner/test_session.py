"""Working through a plan with workers that do as they are told."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from resbench.protocol import Epoch, Event, Idle, Ready, RunEvent, Warned
from resbench.runner import session, worker
from resbench.runner.devices import Device
from resbench.runner.plan import PlannedRun
from resbench.runner.progress import Progress
from resbench.runner.session import PlanEnd, Session, SessionSettings
from resbench.runner.throughput import Speed, Throughput
from resbench.store.layout import RunFolder, open_for_writing
from resbench.store.locks import wait_lock
from resbench.store.state import Status

from ..faults.running import gone
from ..mini import changed, state_of, suite_of, wait_until
from .planning import planned

FAKE = Path(__file__).with_name("fake_worker.py")
CPU = Device("cpu", "CPU")
GPUS = [Device("cuda:0", "NVIDIA H100"), Device("cuda:1", "NVIDIA H100")]
ECC = "CUDA error: uncorrectable ECC error encountered"
ABORTED = signal.strsignal(signal.SIGABRT)
KILLED = "killed by signal 9 from outside, as the kernel does when memory runs out"


class Notes(Progress):
    """Keeps what it hears."""

    def __init__(self) -> None:
        super().__init__([], [CPU], Throughput())
        self.lines: list[tuple[str, ...]] = []

    def began(self, run: PlannedRun, device: str) -> None:
        self.lines.append(("began", run.key, device))

    def event(self, run: PlannedRun, event: RunEvent) -> None:
        said = (event.text,) if isinstance(event, Warned) else ()
        self.lines.append((type(event).__name__, run.key, *said))

    def ended(self, run: PlannedRun, status: Status, text: str) -> None:
        self.lines.append(("ended", run.key, status, text))

    def stopping(self) -> None:
        self.lines.append(("stopping", ""))


class Stage:
    """A results folder, a plan, and fake workers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.results = folder / "results"
        open_for_writing(self.results)
        self.notes = Notes()

    def plan(self, seeds: int, **suite: Any) -> list[PlannedRun]:
        """``seeds`` runs, of seed 1, 2, ... in this order."""
        runs = planned(self.folder, suite_of(seeds=tuple(range(1, seeds + 1))) | suite)
        return [run for run in runs if run.cells[0][1] == "arl"]

    def packable(self) -> list[PlannedRun]:
        """Two cells with two seeds each, which a GPU trains in pairs."""
        return planned(self.folder, suite_of(seeds=(1, 2)), engine="graph", precision="bf16")

    def work(
        self,
        runs: list[PlannedRun],
        *behaviours: str,
        workers: int = 1,
        devices: Sequence[Device] = (),
        throughput: Throughput | None = None,
        **settings: Any,
    ) -> PlanEnd:
        command = (sys.executable, str(FAKE), str(self.folder), *behaviours)
        self.monkeypatch.setattr(worker, "COMMAND", command)
        chosen = SessionSettings(self.results, devices or [CPU] * workers, **settings)
        self.notes = Notes()
        return Session(runs, chosen, throughput or Throughput(), self.notes).run()

    def when(self, kind: type[Event], action: Callable[[worker.Worker], object]) -> None:
        """Have ``action`` follow each event of a kind that a worker reports."""
        heard = worker.Worker.heard

        def hear(source: worker.Worker, event: Event) -> None:
            heard(source, event)
            if isinstance(event, kind):
                action(source)

        self.monkeypatch.setattr(worker.Worker, "heard", hear)

    def attempts(self) -> list[list[str]]:
        """Process, seed and key of each attempt."""
        return [line.split() for line in (self.folder / "attempts").read_text().splitlines()]

    def used(self) -> list[str]:
        """The device of each attempt."""
        return [line[2] for line in self.notes.lines if line[0] == "began"]

    def warnings(self) -> list[str]:
        return [line[2] for line in self.notes.lines if line[0] == "Warned"]

    def ends(self) -> dict[str, str]:
        return {line[2]: line[3] for line in self.notes.lines if line[0] == "ended"}


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def test_every_run_ends_once_and_one_process_serves_them_all(stage: Stage) -> None:
    runs = stage.plan(5)
    summary = stage.work(runs, "done", "diverged", "oom", "failed")
    assert list(summary.ended.values()) == ["done", "diverged", "oom", "failed", "done"]
    assert (summary.left, summary.faults, summary.epochs) == ([], [], 5)
    assert len({pid for pid, *_ in stage.attempts()}) == 1
    heard = [line for line in stage.notes.lines if line[1] == runs[1].key]
    assert [line[0] for line in heard] == ["began", "AtStep", "Epoch", "ended"]
    assert heard[-1][2:] == ("diverged", "because diverged")


@pytest.mark.parametrize(
    ("death", "outcome", "text"),
    [
        ("abort", "failed", f"the worker ended with signal 6 ({ABORTED})"),
        ("exit", "failed", "the worker ended with exit code 1: cannot go on"),
        ("kill", "failed", KILLED),
        ("terminated", "failed", f"the worker ended with signal 15 ({signal.strsignal(15)})"),
    ],
)
def test_a_death_costs_only_its_own_run(stage: Stage, death: str, outcome: str, text: str) -> None:
    runs = stage.plan(3)
    RunFolder(stage.results, runs[1].key).create()
    summary = stage.work(runs, "done", death)
    assert list(summary.ended.values()) == ["done", outcome, "done"]
    assert summary.left == []
    assert stage.ends()[outcome] == text
    state = state_of(RunFolder(stage.results, runs[1].key))
    assert (state.status, state.reason) == (Status(outcome), text)


@pytest.mark.parametrize(("attempt", "outcome"), [(1, "failed"), (2, "oom")])
def test_a_kill_that_the_kernel_counted_is_out_of_memory(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, attempt: int, outcome: str
) -> None:
    """Where it counted one in an earlier run of the same worker, that was another process."""

    def counted() -> int:
        attempts = stage.folder / "attempts"
        return 7 + (attempts.exists() and len(attempts.read_text().splitlines()) >= attempt)

    monkeypatch.setattr(worker, "oom_kills", counted)
    summary = stage.work(stage.plan(2), "done", "kill")
    assert list(summary.ended.values()) == ["done", outcome]
    assert "memory" in stage.ends()[outcome]


def test_a_worker_killed_while_it_starts_does_not_stop_the_plan(stage: Stage) -> None:
    summary = stage.work(stage.plan(2), "kill at start")
    assert (summary.faults, list(summary.ended.values())) == ([], ["failed", "done"])


def logged(stage: Stage, words: str) -> list[PlannedRun]:
    """Two runs with a log of an earlier attempt; who aborts writes ``words`` into it."""
    runs = stage.plan(2)
    for run in runs:
        folder = RunFolder(stage.results, run.key)
        folder.create()
        folder.log.write_text(f"earlier\nwhat(): {ECC}\n")
    (stage.folder / "words").write_text(words)
    return runs


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("first\nterminate called\n", "; its log says: terminate called"),
        (
            "terminate called\n  what():  it is broken\nframe #0\n",
            "; its log says: what():  it is broken",
        ),
        ("", ""),
    ],
)
def test_the_log_of_this_attempt_says_why_its_worker_died(
    stage: Stage, words: str, said: str
) -> None:
    summary = stage.work(logged(stage, words), "abort", devices=GPUS[:1])
    assert stage.ends()["failed"] == f"the worker ended with signal 6 ({ABORTED}){said}"
    assert list(summary.ended.values()) == ["failed", "done"], "the device is not at fault"


def test_a_fault_of_the_device_is_found_anywhere_in_the_log_of_a_dead_worker(stage: Stage) -> None:
    words = f"terminate called\n  what():  {ECC}\nCUDA kernel errors might be reported later.\n\n"
    summary = stage.work(logged(stage, words), "cuda:0=aborts", devices=GPUS)
    assert list(summary.ended.values()) == ["done", "done"]
    assert len(stage.warnings()) == 1
    assert ECC in stage.warnings()[0]


def test_words_of_a_fault_in_the_log_of_a_cpu_worker_cost_its_run_alone(stage: Stage) -> None:
    summary = stage.work(logged(stage, ECC), "abort")
    assert list(summary.ended.values()) == ["failed", "done"]
    assert (summary.faults, stage.warnings()) == ([], [])


@pytest.fixture
def leap(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what puts the clock of limits forward, by seconds."""
    ahead_s = 0.0

    def forward(seconds: float) -> None:
        nonlocal ahead_s
        ahead_s += seconds

    real = time.monotonic
    for module in (session, worker):
        clock = SimpleNamespace(monotonic=lambda: real() + ahead_s)
        monkeypatch.setattr(module, "time", clock)
    return forward


def stop_takes_long(leap: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first request to stop on, the clock of limits runs fast."""
    stop = worker.Worker.stop

    def stop_and_leap(self: worker.Worker) -> None:
        stop(self)
        leap(40)

    monkeypatch.setattr(worker.Worker, "stop", stop_and_leap)


@pytest.mark.parametrize("why", ["signal", "deadline"])
def test_a_worker_that_does_not_train_yet_is_ended_soon_after_a_stop(
    stage: Stage, leap: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """It may be capturing or compiling, and nothing is lost."""
    deadline = None
    if why == "signal":
        stop_takes_long(leap, monkeypatch)
        signal_at_first_attempt(stage)
    else:
        deadline = time.monotonic() + 60
        monkeypatch.setattr(Notes, "began", lambda *_: leap(2000))
    summary = stage.work(stage.plan(1), "captures", deadline=deadline)
    assert list(summary.ended.values()) == ["interrupted"]
    assert stage.ends()["interrupted"] == "stopped while it was starting"
    assert (summary.faults, len(summary.left)) == ([], 1)


def test_a_worker_that_trains_ends_its_epoch_after_a_stop(
    stage: Stage, leap: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_takes_long(leap, monkeypatch)
    stage.when(Epoch, lambda _: ask_to_stop())
    stage.work(stage.plan(1), "obedient")
    assert stage.ends()["interrupted"] == "after epoch 1 of 2"


def test_a_worker_that_is_killed_while_it_is_idle_costs_no_run(stage: Stage) -> None:
    def kill_the_first(idle: worker.Worker) -> None:
        if len(stage.attempts()) == 1:
            idle.process.kill()
            wait_until(lambda: gone(psutil.Process(idle.process.pid)), "the worker's end")

    stage.when(Idle, kill_the_first)
    summary = stage.work(stage.plan(3))
    assert list(summary.ended.values()) == ["done"] * 3
    assert len({pid for pid, *_ in stage.attempts()}) == 2


def test_a_worker_that_was_idle_for_long_is_not_silent_when_it_is_given_a_run(
    stage: Stage, leap: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, silent_s = worker.Worker.start, list[float]()

    def begin(self: worker.Worker, *group: Any) -> None:
        start(self, *group)
        silent_s.append(worker.time.monotonic() - self.heard_at)

    stage.when(Idle, lambda _: leap(2000))
    monkeypatch.setattr(worker.Worker, "start", begin)
    summary = stage.work(stage.plan(2))
    assert list(summary.ended.values()) == ["done"] * 2
    assert len(silent_s) == 2
    assert max(silent_s) < session.SILENCE_S


def test_a_line_that_comes_in_two_parts_is_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    halves = "import sys; w = lambda s: print(s, end='', flush=True); "
    halves += """w('{"type":"Re'); sys.stdin.readline(); w('ady"}\\n')"""
    monkeypatch.setattr(worker, "COMMAND", (sys.executable, "-c", halves))
    started = worker.Worker(CPU)
    assert started.process.stdin is not None
    select.select([started.descriptor], [], [])
    assert started.read() == ([], False)
    started.process.stdin.write(b"\n")
    started.process.stdin.flush()
    select.select([started.descriptor], [], [])
    assert started.read() == ([Ready()], False)
    started.close()


def test_a_worker_that_takes_long_and_reports_in_the_end_is_kept(
    stage: Stage, leap: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = worker.Worker.heard

    def hear(self: worker.Worker, event: Event) -> None:
        if isinstance(event, Ready):
            leap(2000)
        heard(self, event)

    monkeypatch.setattr(worker.Worker, "heard", hear)
    summary = stage.work(stage.plan(1))
    assert list(summary.ended.values()) == ["done"]


def test_a_session_that_was_suspended_ends_no_worker_for_its_silence(
    stage: Stage, leap: Callable[[float], None]
) -> None:
    def suspend_and_stop(_: worker.Worker) -> None:
        leap(2000)
        ask_to_stop()

    stage.when(Epoch, suspend_and_stop)
    stage.work(stage.plan(1), "obedient")
    assert stage.ends() == {"interrupted": "after epoch 1 of 2"}


def test_a_worker_that_is_stopped_from_outside_has_failed(stage: Stage) -> None:
    summary = stage.work(stage.plan(2), "interrupted")
    assert list(summary.ended.values()) == ["failed", "done"]
    assert summary.left == []


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [("exit", "failed"), ("captures", "timeout")],  # it has closed its output, or never will
)
def test_a_process_that_the_kernel_does_not_end_holds_up_no_other_run(
    stage: Stage,
    leap: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
    outcome: str,
) -> None:
    """As one does that waits for its GPU."""
    made: list[subprocess.Popen[bytes]] = []
    kill_worker = worker.Worker.kill
    kill, start, wait = (getattr(subprocess.Popen, n) for n in ("kill", "__init__", "wait"))

    def noted(process: subprocess.Popen[bytes], *rest: Any, **more: Any) -> None:
        made.append(process)
        start(process, *rest, **more)

    def no_end(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if process is not made[0]:
            return int(wait(process, timeout))
        assert timeout is not None
        raise subprocess.TimeoutExpired("", timeout)

    def in_vain(process: subprocess.Popen[bytes]) -> None:
        if process is not made[0]:
            kill(process)

    def kill_and_leap(self: worker.Worker, status: Status, reason: str) -> None:
        kill_worker(self, status, reason)
        monkeypatch.setattr(session, "SILENCE_S", 600.0)
        leap(40)

    if behaviour == "captures":
        monkeypatch.setattr(session, "SILENCE_S", 1.0)
    monkeypatch.setattr(worker.Worker, "kill", kill_and_leap)
    with monkeypatch.context() as stuck:
        for name, stub in (("__init__", noted), ("wait", no_end), ("kill", in_vain)):
            stuck.setattr(subprocess.Popen, name, stub)
        summary = stage.work(stage.plan(2), behaviour)
    made[0].kill()
    made[0].wait()
    assert list(summary.ended.values()) == [outcome, "done"]


def test_the_speed_of_an_epoch_is_learnt_for_the_runs_that_follow(stage: Stage) -> None:
    runs, throughput = stage.plan(2), Throughput()
    assert not throughput.is_measured(runs[1].spec, CPU)
    stage.work(runs[:1], throughput=throughput)
    assert throughput.is_measured(runs[1].spec, CPU)
    assert throughput.epoch_seconds(runs[1].spec, CPU) == pytest.approx(64 / 100 * 1.5)


def test_only_a_measured_speed_keeps_a_worker_from_its_first_epoch(stage: Stage) -> None:
    (run,), throughput = stage.plan(1), Throughput()

    def epoch_s() -> float | None:
        settings = SessionSettings(stage.results, [CPU])
        return Session([run], settings, throughput, stage.notes)._job(run, CPU).epoch_s

    assert epoch_s() is None
    throughput.learn(run.spec, CPU, Speed(32.0, 0.25), 4)
    assert epoch_s() == pytest.approx(64 / 32 * 1.25)


def test_no_speed_is_learnt_of_a_pack(stage: Stage) -> None:
    throughput = Throughput()
    stage.work(stage.packable(), devices=GPUS[:1], pack=2, throughput=throughput)
    assert throughput.measured == {}


def test_no_speed_is_learnt_of_a_run_shorter_than_an_epoch(stage: Stage) -> None:
    one_step = {"base.training.schedule": {"unit": "step", "total": 1, "drops": []}}
    base = changed(suite_of(), one_step)["base"]
    runs, throughput = stage.plan(1, base=base), Throughput()
    stage.work(runs, throughput=throughput)
    assert throughput.measured == {}


def test_a_pack_without_memory_is_handed_out_run_by_run_to_new_processes(stage: Stage) -> None:
    summary = stage.work(stage.packable(), "crowded", devices=GPUS[:1], pack=2)
    assert list(summary.ended.values()) == ["done"] * 4
    assert (len(stage.attempts()), len(stage.warnings())) == (4, 4)


def test_a_pack_that_the_kernel_kills_for_memory_is_handed_out_in_smaller_ones(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = stage.folder / "attempts"
    monkeypatch.setattr(worker, "oom_kills", lambda: log.exists() and log.read_text().count("\n"))
    runs = stage.packable()
    summary = stage.work(runs, "kill", devices=GPUS[:1], pack=2)  # seed 1, in a pack and alone
    ended = {run.label: summary.ended[run.key] for run in runs}
    assert [status for label, status in ended.items() if label.endswith("2")] == ["done"] * 2
    assert [status for label, status in ended.items() if label.endswith("1")] == ["oom"] * 2
    assert sum("not enough memory for 2 runs at once" in line for line in stage.warnings()) == 4


def test_a_run_that_a_failed_one_of_its_pack_interrupts_is_handed_out_again(stage: Stage) -> None:
    summary = stage.work(stage.packable(), "failed", "interrupted", devices=GPUS[:1], pack=2)
    assert sorted(seed for _, seed, _ in stage.attempts()) == ["1", "1", "2", "2", "2", "2"]
    assert sorted(summary.ended.values()) == ["failed"] * 4
    stopped = {run.key for run in stage.packable() if run.label.endswith("2")}
    texts = {line[3] for line in stage.notes.lines if line[0] == "ended" and line[1] in stopped}
    assert texts == {"its worker was stopped from outside; because interrupted"}


def test_gpus_and_cpu_workers_take_runs_from_one_queue(stage: Stage) -> None:
    summary = stage.work(stage.plan(20), devices=[*GPUS, CPU, CPU])
    assert list(summary.ended.values()) == ["done"] * 20
    assert set(stage.used()) == {"cuda:0", "cuda:1", "cpu"}
    assert len({pid for pid, *_ in stage.attempts()}) == 4
    assert len({key for *_, key in stage.attempts()}) == len(stage.attempts()) == 20


@pytest.mark.parametrize("fault", ["lost", "dies"])
def test_a_device_that_fails_is_left_out_and_its_run_goes_to_another(
    stage: Stage, fault: str
) -> None:
    runs = stage.plan(6)
    summary = stage.work(runs, f"cuda:0={fault}", devices=[*GPUS, CPU])
    assert list(summary.ended.values()) == ["done"] * 6
    assert (summary.left, summary.faults, stage.used().count("cuda:0")) == ([], [], 1)
    (line,) = stage.warnings()
    assert line.startswith("cuda:0 (NVIDIA H100) failed: ")
    assert line.endswith(f"{ECC}. It is not used again; another device continues {runs[0].label}")


def test_every_run_of_a_pack_goes_to_another_device_with_one_line(stage: Stage) -> None:
    runs = stage.packable()
    summary = stage.work(runs, "cuda:0=lost", devices=GPUS, pack=2)
    assert list(summary.ended.values()) == ["done"] * 4
    assert len(stage.warnings()) == 1
    assert runs[0].label in stage.warnings()[0]
    assert runs[2].label in stage.warnings()[0]


def test_without_a_device_that_works_the_plan_stops_and_nothing_has_failed(stage: Stage) -> None:
    summary = stage.work(stage.plan(4), "cuda:0=lost", "cuda:1=dies", devices=GPUS)
    assert (summary.ended, len(summary.left)) == ({}, 4)
    assert len(summary.faults) == len(stage.warnings()) == 1
    assert summary.faults[0].endswith(f"{ECC}. No device is left.")


def test_a_run_goes_back_to_the_kind_of_device_that_it_was_started_on(stage: Stage) -> None:
    summary = stage.work(stage.plan(4), "done", "for a GPU", devices=[GPUS[0], CPU])
    assert list(summary.ended.values()) == ["done"] * 4
    assert [seed for _, seed, _ in stage.attempts()].count("2") == 2
    assert stage.warnings() == []


def test_a_run_that_no_device_here_may_resume_fails_with_the_reason(stage: Stage) -> None:
    summary = stage.work(stage.plan(2), "for a GPU", workers=2)
    assert sorted(summary.ended.values()) == ["done", "failed"]
    assert len(stage.attempts()) == 2, "one of a kind speaks for all"
    assert stage.ends()["failed"] == "device: cuda -> cpu"


def test_a_run_fails_whose_kind_of_device_is_not_left_though_others_are(stage: Stage) -> None:
    """Nothing else would tell it from one that is done."""
    summary = stage.work(stage.plan(1), "for a GPU", "cuda:0=lost", devices=[CPU, GPUS[0]])
    assert stage.used()[:2] == ["cpu", "cuda:0"]
    assert (list(summary.ended.values()), summary.left, summary.faults) == (["failed"], [], [])
    assert "another kind of device, of which none is left" in stage.ends()["failed"]


def test_a_worker_that_takes_no_more_is_replaced_without_a_loss(stage: Stage) -> None:
    summary = stage.work(stage.plan(3), "mute", "mute")
    assert list(summary.ended.values()) == ["failed", "failed", "done"]
    assert len({pid for pid, *_ in stage.attempts()}) == 3


def test_a_worker_that_cannot_start_stops_the_plan_with_its_reason(stage: Stage) -> None:
    runs = stage.plan(3)
    summary = stage.work(runs, "no start")
    assert summary.faults == [
        "A worker cannot start: the worker ended with exit code 1: "
        "ImportError: libcudart.so is missing"
    ]
    assert len(summary.ended) + len(summary.left) == 3


def test_a_machine_without_room_for_another_process_says_so_and_stops_the_others_cleanly(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = subprocess.Popen, list[int]()

    def refuse_the_second(*command: Any, **more: Any) -> subprocess.Popen[bytes]:
        if started:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(1)
        return start(*command, **more)

    monkeypatch.setattr(subprocess, "Popen", refuse_the_second)
    summary = stage.work(stage.plan(3), "obedient", workers=2)
    assert summary.faults == ["A worker cannot be started: Resource temporarily unavailable."]
    assert list(summary.ended.values()) == ["interrupted"]
    assert sorted(run.spec.seed for run in summary.left) == [1, 2, 3]


def test_a_fault_of_the_disk_stops_the_others_once_and_lets_them_finish(stage: Stage) -> None:
    summary = stage.work(stage.plan(3), "obedient", "fault", workers=2)
    assert summary.faults == ["the disk is full"]
    assert list(summary.ended.values()) == ["failed", "interrupted"]
    assert stage.ends()["interrupted"] == "after epoch 1 of 2"
    assert [run.spec.seed for run in summary.left] == [1, 3]


def test_a_run_trained_elsewhere_is_taken_when_it_is_free(stage: Stage) -> None:
    runs = stage.plan(2)
    summary = stage.work(runs, "locked once")
    assert set(summary.ended.values()) == {"done"}
    assert [seed for _, seed, _ in stage.attempts()] == ["1", "2", "1"]
    assert [line[2] for line in stage.notes.lines if line[0] == "ended"] == [
        "running",
        "done",
        "done",
    ]


def test_what_another_process_trains_is_left_to_it(stage: Stage) -> None:
    (run,) = runs = stage.plan(1)
    summary = stage.work(runs, "locked once", wait=False)
    assert (summary.left, summary.elsewhere) == (runs, {run.key})


def test_a_budget_ends_the_wait_for_another_process(stage: Stage) -> None:
    (run,) = runs = stage.plan(1)
    folder = RunFolder(stage.results, run.key)
    folder.create()
    with wait_lock(folder.path):
        summary = stage.work(runs, "locked once", deadline=time.monotonic() + 1)
    assert (summary.left, summary.elsewhere) == (runs, {run.key})


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def signal_at_first_attempt(stage: Stage) -> None:
    """Ask this process to stop once a worker has taken its first run."""

    def send() -> None:
        while not (stage.folder / "attempts").exists():
            time.sleep(0.01)
        ask_to_stop()

    threading.Thread(target=send).start()


def test_a_signal_lets_workers_finish_their_write(stage: Stage) -> None:
    signal_at_first_attempt(stage)
    before = signal.getsignal(signal.SIGTERM)
    summary = stage.work(stage.plan(2), "obedient")
    assert summary.signal == signal.SIGTERM
    assert list(summary.ended.values()) == ["interrupted"]
    assert [line[0] for line in stage.notes.lines].count("stopping") == 1
    assert [run.spec.seed for run in summary.left] == [1, 2]
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_does_not_fit_in_the_time_is_left(stage: Stage) -> None:
    deadline = time.monotonic() + 60
    summary = stage.work(stage.plan(2), "interrupted", "done", deadline=deadline)
    assert sorted(summary.ended.values()) == ["done", "interrupted"]
    assert [run.spec.seed for run in summary.left] == [1]
    assert summary.epoch_s == pytest.approx(64 / 100 * 1.5), "as of the epoch before"


def test_of_what_is_left_the_shortest_epoch_is_named(stage: Stage) -> None:
    long = suite_of("long")
    long["base"]["data"]["train_images"] = 640
    runs, throughput = planned(stage.folder, long, suite_of()), Throughput()
    summary = stage.work(runs, throughput=throughput, deadline=time.monotonic())
    epochs_s = [throughput.epoch_seconds(run.spec, CPU) for run in runs]
    assert (summary.left, summary.ended) == (runs, {})
    assert summary.epoch_s == min(epochs_s) < max(epochs_s)


def test_memory_of_the_parent_is_flat_over_a_thousand_runs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, sizes = psutil.Process(), []
    for event in ("began", "event"):  # else the notes would grow
        monkeypatch.setattr(Notes, event, lambda *_: None)
    monkeypatch.setattr(Notes, "ended", lambda *_: sizes.append(process.memory_info().rss))
    stage.work(stage.plan(1000))
    assert len(sizes) == 1000
    # 10 KiB a run would show; the allocator of a process that ran other tests moves by some MiB.
    assert sizes[-1] - sizes[200] < 8 << 20
