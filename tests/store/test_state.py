"""What a state file says is believed only where it can be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from resbench.store.locks import wait_lock
from resbench.store.state import Status, read_state, write_state

from ..factory import unfinished
from ..mini import state_of


def test_state_tells_who_runs_and_that_it_is_gone(tmp_path: Path) -> None:
    run = unfinished(tmp_path, epochs=0)
    with wait_lock(run.path):
        write_state(run, Status.RUNNING, epoch=7)
        written = state_of(run)
        assert (written.status, written.pid) == (Status.RUNNING, os.getpid())
    state = state_of(run)
    assert (state.status, state.epoch) == (Status.INTERRUPTED, 7)
    assert state.reason == f"process {os.getpid()} on {written.host} is gone"


def test_an_epoch_that_is_not_said_stays(tmp_path: Path) -> None:
    run = unfinished(tmp_path, epochs=0)
    write_state(run, Status.INTERRUPTED, epoch=3)
    write_state(run, Status.FAILED, reason="by its runner, who does not know the epoch")
    assert (state_of(run).status, state_of(run).epoch) == (Status.FAILED, 3)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"status": "odd"}', '{"status": "running"}',
    {"epoch": "5"}, {"epoch": -5}, {"epoch": 1e999}, {"reason": {"a": 1}}, {"status": "odd"},
])  # fmt: skip
def test_a_state_that_is_no_state_decides_nothing(
    tmp_path: Path, text: str | dict[str, object] | None
) -> None:
    run = unfinished(tmp_path, epochs=0)
    if isinstance(text, dict):
        write_state(run, Status.INTERRUPTED, epoch=3)
        text = json.dumps({**json.loads(run.state.read_text()), **text})
    if text is not None:
        run.state.write_text(text)
    assert read_state(run) is None
