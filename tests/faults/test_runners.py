"""Promise 8: commands on one suite share the work. ``tools/scale.py`` tries it with eight."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from resbench.store.metrics import EpochTiming, read_epochs

from ..mini import PATIENCE_S, outputs, run_folders, started
from .running import EPOCHS, RUN, assert_left_in_order, epochs_in, prepare, record_in, run_in


def test_commands_at_once_train_every_run_exactly_once(unbroken: Path, tmp_path: Path) -> None:
    prepare(tmp_path)
    command = (*RUN, "--jobs", "1")
    with ExitStack() as running:
        commands = [running.enter_context(started(tmp_path, *command)) for _ in range(4)]
        for process in commands:
            _, said = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, said
            assert "2 done" in said
    assert len(run_folders(tmp_path / "results")) == 2
    for learning in ("arl", "nal"):
        run = run_in(tmp_path, learning)
        assert epochs_in(run) == list(range(1, EPOCHS + 1))
        assert [row.epoch for row in read_epochs(run.timing, EpochTiming)] == epochs_in(run)
        assert record_in(tmp_path, learning).timing.pieces == 1
    ours, theirs = outputs(tmp_path / "results"), outputs(unbroken / "results")
    assert {name: ours[name] for name in theirs} == theirs
    assert_left_in_order(tmp_path)
