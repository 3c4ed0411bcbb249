"""What a state file says is believed only where it can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resbench.store.layout import RunFolder, open_for_writing
from resbench.store.state import Status, read_state, write_state


@pytest.mark.parametrize(
    "changes",
    [{"epoch": "5"}, {"epoch": -5}, {"epoch": 1e999}, {"reason": {"a": 1}}, {"status": "odd"}],
)
def test_a_state_with_a_value_of_another_kind_is_none(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    open_for_writing(tmp_path / "results")
    run = RunFolder(tmp_path / "results", "0" * 64)
    run.create()
    write_state(run, Status.INTERRUPTED, epoch=3)
    found = read_state(run)
    assert found is not None
    assert found.epoch == 3
    write_state(run, Status.FAILED, reason="by its runner, who does not know the epoch")
    found = read_state(run)
    assert found is not None
    assert (found.status, found.epoch) == (Status.FAILED, 3)
    run.state.write_text(json.dumps({**json.loads(run.state.read_text()), **changes}))
    assert read_state(run) is None
