"""What a person sees."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from resbench.runner.devices import Device
from resbench.runner.progress import Progress
from resbench.runner.throughput import Speed, Throughput

from .planning import planned

CPU = Device("cpu", "CPU")
EPOCH = {
    "event": "epoch",
    "keys": [],
    "epoch": 2,
    "epochs": 4,
    "step": 8,
    "steps": 16,
    "test_top1_err": 12.345,
    "images_per_s": 64.0,
    "lr": 0.1,
}


def progress_of(total: int = 2, *, terminal: bool = False, workers: int = 1) -> Progress:
    progress = Progress(total, workers, Throughput())
    progress.console = Console(
        file=io.StringIO(), force_terminal=terminal, width=120, highlight=False
    )
    return progress


def written(progress: Progress) -> str:
    assert isinstance(progress.console.file, io.StringIO)
    return progress.console.file.getvalue()


def test_plain_lines_say_how_each_run_ended(tmp_path: Path) -> None:
    arl, nal = planned(tmp_path)
    with progress_of() as progress:
        for run in (arl, nal):
            progress.began(run, "cpu", 1)
        progress.event(arl, EPOCH)
        progress.event(nal, {"event": "warning", "keys": [], "text": "checkpoint.bin: damaged"})
        progress.ended(arl, "done", "")
        progress.ended(nal, "oom", "killed by signal 9")
    assert written(progress).splitlines() == [
        "warning: checkpoint.bin: damaged",
        "[1/2] done  mini arl seed 1  test error 12.35 %  0 s",
        "[2/2] OOM  mini nal seed 1  0 s  killed by signal 9",
    ]


def test_a_run_at_work_elsewhere_does_not_count_as_ended(tmp_path: Path) -> None:
    run = planned(tmp_path)[0]
    progress = progress_of()
    progress.began(run, "cpu", 1)
    progress.ended(run, "locked", "another process is at it")
    assert written(progress) == "[0/2] waiting  mini arl seed 1  another process is at it\n"


def test_a_run_that_is_put_down_does_not_count_as_ended(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    progress = progress_of()
    for run in runs:
        progress.throughput.learn(run.spec, CPU, Speed(64.0, 0.0))
    progress.expect(runs, CPU)
    for run, outcome in zip(runs, ("budget", "interrupted"), strict=True):
        progress.began(run, "cpu", 1)
        progress.ended(run, outcome, "after epoch 1 of 4")
        assert progress.remaining_s() == pytest.approx(4 if outcome == "budget" else 0)
    assert written(progress).splitlines() == [
        "[0/2] put down  mini arl seed 1  0 s  after epoch 1 of 4",
        "[0/2] interrupted  mini nal seed 1  0 s  after epoch 1 of 4",
    ]


def test_long_lines_are_not_broken(tmp_path: Path) -> None:
    run = planned(tmp_path)[0]
    progress = progress_of()
    progress.began(run, "cpu", 1)
    progress.ended(run, "failed", "x" * 300)
    assert len(written(progress).splitlines()) == 1


def test_a_terminal_shows_what_is_under_way_and_when_it_ends(tmp_path: Path) -> None:
    arl, nal = planned(tmp_path)
    progress = progress_of(terminal=True)
    progress.throughput.learn(arl.spec, CPU, Speed(64.0, 0.0))
    progress.expect([arl, nal], CPU)
    assert progress.remaining_s() is not None, "of nal it is expected"
    progress.throughput.learn(nal.spec, CPU, Speed(64.0, 0.0))
    progress.expect([arl, nal], CPU)
    assert progress.remaining_s() == pytest.approx(8)
    progress.began(arl, "cpu", 1)
    progress.event(arl, EPOCH)
    assert progress.remaining_s() == pytest.approx(2 + 4)
    progress.event(arl, {"event": "step", "keys": [], "step": 12, "steps": 16})
    assert progress.remaining_s() == pytest.approx(1 + 4)
    progress.console.print(progress._table())
    shown = " ".join(written(progress).split())
    assert "mini arl seed 1 cpu 75 % epoch 2 of 4 test error 12.35 % 64 images/s" in shown
    assert "0 of 2 runs, about 5 s left" in shown


def test_two_workers_take_half_the_time(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    progress = progress_of(workers=2)
    for run in runs:
        progress.throughput.learn(run.spec, CPU, Speed(64.0, 0.0))
    progress.expect(runs, CPU)
    assert progress.remaining_s() == pytest.approx(4)
