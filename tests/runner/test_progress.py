"""What a person sees."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from rich.console import Console
from rich.table import Table

from resbench.protocol import AtStep, Epoch, Warned
from resbench.runner.devices import Device
from resbench.runner.plan import PlannedRun
from resbench.runner.progress import Progress
from resbench.runner.throughput import Speed, Throughput
from resbench.store.metrics import EpochTiming
from resbench.store.state import Status

from ..factory import metrics_of
from .planning import planned

CPU = Device("cpu", "CPU")
METRICS = structs.replace(metrics_of(0, 2), step=8, test_top1_err=12.345)
TIMING = EpochTiming(epoch=2, duration_s=1.0, images_per_s=64.0, eval_s=0.0)
EPOCH = Epoch("key", 4, 16, METRICS, TIMING)


def progress_of(
    runs: Sequence[PlannedRun], *, terminal: bool = False, workers: int = 1
) -> Progress:
    """Of runs that take 4 s each."""
    throughput = Throughput()
    for run in runs:
        throughput.learn(run.spec, CPU, Speed(64.0, 0.0), 4)
    progress = Progress(runs, [CPU] * workers, throughput)
    out = io.StringIO()
    progress.console = Console(file=out, force_terminal=terminal, width=120, highlight=False)
    return progress


def written(progress: Progress) -> str:
    assert isinstance(progress.console.file, io.StringIO)
    return progress.console.file.getvalue()


def test_plain_lines_say_how_each_run_ended(tmp_path: Path) -> None:
    arl, nal = planned(tmp_path)
    with progress_of([arl, nal]) as progress:
        for run in (arl, nal):
            progress.began(run, "cpu")
        progress.event(arl, EPOCH)
        progress.event(nal, Warned("key", "checkpoint.bin: damaged"))
        progress.ended(arl, Status.DONE, "")
        progress.ended(nal, Status.OOM, "killed by signal 9")
    assert written(progress).splitlines() == [
        "warning: checkpoint.bin: damaged",
        "[1/2] done  mini arl seed 1  test error 12.35 %  0 s",
        "[2/2] OOM  mini nal seed 1  0 s  killed by signal 9",
    ]


def test_a_log_gets_no_cursor_codes_even_where_it_gets_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    runs = planned(tmp_path)
    with Progress(runs, [CPU], Throughput()) as progress:
        progress.began(runs[0], "cpu")
        progress.ended(runs[0], Status.DONE, "")
    said = capsys.readouterr().err
    assert "\x1b[32mdone" in said
    for code in ("\x1b[?25l", "\x1b[2K", "\x1b[1A", "\r"):
        assert code not in said


@pytest.mark.parametrize(
    ("status", "line", "left_s"),
    [
        (Status.RUNNING, "[0/2] waiting  mini arl seed 1", 8),
        (Status.INTERRUPTED, "[0/2] interrupted  mini arl seed 1  0 s", 4),
    ],
)
def test_a_run_that_waits_or_was_stopped_is_one_line_and_does_not_count_as_ended(
    tmp_path: Path, status: Status, line: str, left_s: float
) -> None:
    runs = planned(tmp_path)
    progress = progress_of(runs)
    progress.began(runs[0], "cpu")
    progress.ended(runs[0], status, "x" * 300)
    assert written(progress) == f"{line}  {'x' * 300}\n"
    assert progress.remaining_s() == pytest.approx(left_s)


def test_a_terminal_shows_what_is_under_way_and_when_it_ends(tmp_path: Path) -> None:
    arl, nal = planned(tmp_path)
    progress = progress_of([arl, nal], terminal=True)
    assert progress.remaining_s() == pytest.approx(8)
    progress.began(arl, "cpu")
    progress.event(arl, EPOCH)
    assert progress.remaining_s() == pytest.approx(2 + 4)
    progress.event(arl, AtStep("key", 12, 16))
    assert progress.remaining_s() == pytest.approx(1 + 4)
    progress.console.print(progress._table())
    shown = " ".join(written(progress).split())
    assert "mini arl seed 1 75 % epoch 2 of 4 test error 12.35 % cpu 64 images/s" in shown
    assert "0 of 2 runs, 0 s, about 5 s left" in shown
    evaluated = structs.replace(EPOCH, timing=structs.replace(TIMING, eval_s=2.0))
    progress.event(arl, evaluated)
    assert progress.remaining_s() == pytest.approx(3 * 2 + 4), "evaluation takes time too"


def test_a_run_that_ends_while_the_display_is_drawn_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rich draws in a thread of its own."""
    arl, nal = planned(tmp_path)
    progress = progress_of([arl, nal])
    for run in (arl, nal):
        progress.began(run, "cpu")
    add_row = Table.add_row

    def add_row_late(*cells: Any, **options: Any) -> None:
        progress.put_back(arl)
        add_row(*cells, **options)

    monkeypatch.setattr(Table, "add_row", add_row_late)
    progress.console.print(progress._table())
    assert "mini nal seed 1" in written(progress)


def test_a_run_is_one_line_of_a_narrow_terminal(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    progress = progress_of(runs, terminal=True, workers=2)
    progress.console = Console(file=io.StringIO(), force_terminal=True, width=80)
    for run in runs:
        cells = [("a_suite_of_a_rather_long_name", "attention-92/arl")]
        progress.began(replace(run, cells=cells), "cuda:0")
        progress.event(run, EPOCH)
    progress.console.print(progress._table())
    *lines, total = written(progress).splitlines()
    assert ["test error 12.35 %" in line for line in lines] == [True] * 2
    assert "about 2 s left" in total, "two workers take half the time"
