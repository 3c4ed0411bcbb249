"""Promises 12, 13: what happens to a worker costs the run in its hands, and no other."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from resbench.store.state import Status

from ..mini import PATIENCE_S, Done, outputs, ran, started, state_of
from .running import (
    ARL,
    assert_left_in_order,
    epochs_in,
    failing,
    prepare,
    ran_well,
    record_in,
    run_in,
    spec,
)

FAULTS = ("starve", "abort", "hang")
"""What happens to the ARL runs of seeds 1 to 3; that of seed 4 is spared."""


@dataclass(frozen=True)
class Aftermath:
    """What all these misfortunes have left: the hang's command, and that of the others."""

    folder: Path
    hung: Done
    done: Done

    def line(self, fault: str) -> str:
        """What was said of the run that met a fault."""
        cell = f"mini arl seed {FAULTS.index(fault) + 1} "
        said = (self.hung if fault == "hang" else self.done).stderr
        (line,) = (line for line in said.splitlines() if cell in line)
        return line

    def reason(self, fault: str) -> tuple[Status, str]:
        """What the state of that run says."""
        state = state_of(run_in(self.folder, seed=FAULTS.index(fault) + 1))
        return state.status, state.reason or ""


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    folder = prepare(tmp_path_factory.mktemp("workers"), seeds=(1, 2, 3, 4))
    faults = {spec(seed=i + 1).key: fault for i, fault in enumerate(FAULTS)}
    command = (*failing(faults), "--cell", "arl", "--jobs", "1", "--seeds")
    with started(folder, *command, f"{FAULTS.index('hang') + 1},", SILENCE_S="3") as hangs:
        done = ran(folder, *command, "1,2,4")
        _, said = hangs.communicate(timeout=PATIENCE_S)
    return Aftermath(folder, Done(command, hangs.returncode, "", said), done)


def test_misfortunes_cost_only_their_own_runs(aftermath: Aftermath) -> None:
    assert aftermath.done.returncode == 1, aftermath.done.stderr
    assert "1 done, 2 failed" in aftermath.done.stderr
    assert "Traceback" not in aftermath.done.stderr
    assert record_in(aftermath.folder, seed=4).status == "done"
    assert_left_in_order(aftermath.folder)


def test_a_run_without_memory_is_out_of_memory(aftermath: Aftermath) -> None:
    assert "OOM  mini arl seed 1" in aftermath.line("starve")
    assert aftermath.reason("starve")[0] is Status.OOM
    assert epochs_in(run_in(aftermath.folder, seed=1)) == []


def test_a_crash_of_native_code_is_reported_with_the_end_of_the_log(aftermath: Aftermath) -> None:
    (logs,) = re.findall(r"tried again next time; logs: (.*)$", aftermath.done.stderr, re.M)
    found = [aftermath.folder / log for log in logs.split(", ")]
    assert "native code gives up" in "".join(log.read_text() for log in found)
    text = f"signal 6 ({signal.strsignal(6)}); its log says: terminate called: native code gives up"
    assert text in aftermath.line("abort")
    status, reason = aftermath.reason("abort")
    assert status is Status.FAILED
    assert reason.endswith(text)


def test_a_worker_that_hangs_is_ended(aftermath: Aftermath) -> None:
    assert aftermath.hung.returncode == 1, aftermath.hung.stderr
    assert "its worker gave no sign of life for 3 s" in aftermath.line("hang")
    assert aftermath.reason("hang")[0] is Status.TIMEOUT


def test_a_run_whose_worker_is_killed_after_its_record_is_done(
    unbroken: Path, tmp_path: Path
) -> None:
    done = ran_well(prepare(tmp_path), *failing({spec().key: "mute"}, ARL))
    assert "recorded before its worker ended" in done.stderr
    assert state_of(run_in(tmp_path)).status is Status.DONE
    assert outputs(tmp_path / "results") == outputs(unbroken / "results")
