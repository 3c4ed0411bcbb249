"""Promise 10: a first signal stops the work so that it can resume, a second ends it at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from resbench.store.state import Status

from ..mini import PATIENCE_S, started, state_of
from .running import (
    ARL,
    assert_ends_as,
    assert_left_in_order,
    epochs_in,
    failing,
    gone,
    nobody_at_work,
    prepare,
    record_in,
    run_in,
    spec,
    wait_for_epochs,
    workers_of,
)


def test_signals_stop_a_run_and_it_resumes_to_the_same_end(unbroken: Path, tmp_path: Path) -> None:
    """Ctrl-C reaches the whole process group, SIGTERM the command alone, SIGUSR1 every process."""
    run = run_in(prepare(tmp_path))
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)):
        dawdling = failing({spec().key: "dawdle"}, ARL)
        with started(tmp_path, *dawdling) as process:
            wait_for_epochs(tmp_path, process, len(epochs_in(run)))
            (worker,) = workers_of(process)
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
            if number == signal.SIGUSR1:  # as a scheduler signals all that a job has started
                worker.send_signal(number)
            _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code, said
        assert "Left: mini arl seed 1. Run the same command to resume." in said
        assert "Traceback" not in said
        state = state_of(run)
        assert state.status is Status.INTERRUPTED
        # the last checkpoint may be older than the last epoch
        assert state.epoch is not None
        assert 0 < state.epoch <= epochs_in(run)[-1]
        assert gone(worker)
        assert_left_in_order(tmp_path)
    assert_ends_as(unbroken, tmp_path)
    assert record_in(tmp_path).timing.pieces == 4


def test_a_second_signal_ends_a_hanging_worker_at_once(tmp_path: Path) -> None:
    prepare(tmp_path)
    with started(tmp_path, *failing({spec().key: "hang"}, ARL)) as process:
        wait_for_epochs(tmp_path, process, 1)
        (worker,) = workers_of(process)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "a second signal ends everything" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)  # else it hangs for ever
        assert process.returncode == 130
        assert gone(worker)
    assert nobody_at_work(tmp_path)
