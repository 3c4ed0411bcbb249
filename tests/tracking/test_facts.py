"""What is exported of a run, before MLflow is asked."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resbench.errors import EnvironmentFault
from resbench.store.layout import RunFolder
from resbench.store.state import Status
from resbench.tracking.facts import MAX_TEXT, Facts, _facts, read_facts

from ..factory import complete, context_of, spec_of
from .tables import finished, stopped

KEY = "0" * 64


def started(spec: Any, context: Any) -> Facts:
    """The facts of a run whose files say this; it has no other file."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder), KEY)
        run.create()
        run.spec.touch()
        return _facts(run, KEY, spec, context, None)


def test_overridden_settings_tell_two_runs_of_a_cell_apart() -> None:
    context = {**context_of(), "overrides": [["training.optim.lr", 0.5]]}
    assert started(spec_of(), context).tags["resbench.set"] == "training.optim.lr=0.5"
    assert started(spec_of(), context_of()).tags["resbench.set"] == ""


@pytest.mark.parametrize(
    "change",
    [
        {"cells": []}, {"cells": "x"}, {"cells": None}, {"cells": [["suite"]]},
        {"cells": [["../../etc", "a"]]}, {"cells": [["suite", "a/../b"]]},
        {"cells": [["suite", "' OR 1=1"]]}, {"data": {}}, {"data": 3}, {"overrides": 3},
    ],
)  # fmt: skip
def test_a_context_that_resbench_did_not_write_is_refused_in_one_line(change: Any) -> None:
    with pytest.raises(EnvironmentFault, match=r"^run 0{16}: not exported") as caught:
        started(spec_of(), {**context_of(), **change})
    assert str(caught.value).isprintable()


def test_a_specification_nested_without_end_is_refused() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(EnvironmentFault, match="RecursionError"):
        started(spec_of() | {"tier": deep}, context_of())


@given(st.text() | st.none() | st.lists(st.text()) | st.floats())
def test_any_value_becomes_short_printable_text(value: Any) -> None:
    spec = spec_of() | {"tier": value}
    facts = started(spec, context_of(label=value))
    for text in (*facts.params.values(), *facts.tags.values(), facts.data[0]):
        assert text.isprintable()
        assert len(text) <= MAX_TEXT


def test_a_run_that_has_not_started_is_none(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, KEY)
    run.path.mkdir(parents=True)
    assert read_facts(run) is None


def facts_of(run: RunFolder) -> Facts:
    facts = read_facts(run)
    assert facts is not None
    return facts


def test_a_linked_artifact_is_not_followed(tmp_path: Path) -> None:
    run = finished(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    run.log.unlink()
    run.log.symlink_to(secret)
    assert facts_of(run).artifacts == ("spec.json", "record.json", "predictions.npz")


def test_a_finished_run_says_where_it_was_trained_and_by_what(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    record = complete(run, device_name="a GPU")
    tags = facts_of(run).tags
    said = {name: tags[f"resbench.{name}"] for name in ("device", "torch", "code", "resumed")}
    assert said == {
        "device": "a GPU", "torch": record.environment.torch, "code": record.code.label,
        "resumed": "0",
    }  # fmt: skip


def test_a_failure_keeps_its_reason(tmp_path: Path) -> None:
    run = stopped(tmp_path, status=Status.FAILED)
    state = json.loads(run.state.read_text())
    run.state.write_text(json.dumps({**state, "reason": "the loss\nwas \x1b[31mred"}))
    facts = facts_of(run)
    assert facts.tags["resbench.reason"] == r"the loss\nwas \x1b[31mred"
    assert facts.status is Status.FAILED
