"""What MLflow is told, before MLflow is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resbench.data.catalog import ARCHIVES, published_id
from resbench.errors import EnvironmentFault
from resbench.store.layout import RunFolder
from resbench.store.state import Status
from resbench.tracking.facts import MAX_TEXT, MLFLOW_STATUS, begun, read_facts

from . import factory

KEY = "0" * 64


def test_only_the_published_images_have_its_address() -> None:
    spec = factory.spec_of()
    assert begun(KEY, spec, factory.context_of()).data.url is None
    spec["data"]["id"] = published_id("cifar10")
    data = begun(KEY, spec, factory.context_of()).data
    assert data.url == ARCHIVES["cifar10"].url
    assert data.digest.startswith("sha256:1b7fb4ab")


def test_a_digest_fits_into_mlflow() -> None:
    assert len(begun(KEY, factory.spec_of(), factory.context_of()).data.digest) == 36


def test_overridden_settings_tell_two_runs_of_a_cell_apart() -> None:
    context = {**factory.context_of(), "overrides": [["training.optim.lr", 0.5]]}
    assert begun(KEY, factory.spec_of(), context).tags["resbench.set"] == "training.optim.lr=0.5"
    assert "resbench.set" not in begun(KEY, factory.spec_of(), factory.context_of()).tags


@pytest.mark.parametrize(
    "change",
    [
        {"cells": []},
        {"cells": [["../../etc", "a"]]},
        {"cells": [["suite", "a/../b"]]},
        {"cells": [["suite", "' OR 1=1"]]},
        {"cells": [["suite"]]},
        {"cells": "x"},
        {"cells": None},
        {"data": {}},
        {"data": 3},
        {"overrides": 3},
    ],
)
def test_a_context_that_resbench_did_not_write_is_refused_in_one_line(change: Any) -> None:
    with pytest.raises(EnvironmentFault, match=r"^run 0{16}: not mirrored") as caught:
        begun(KEY, factory.spec_of(), {**factory.context_of(), **change})
    assert str(caught.value).isprintable()


def test_a_specification_nested_without_end_is_refused() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(EnvironmentFault, match="RecursionError"):
        begun(KEY, factory.spec_of() | {"tier": deep}, factory.context_of())


@given(st.text() | st.none() | st.lists(st.text()) | st.floats())
def test_any_value_becomes_short_printable_text(value: Any) -> None:
    spec = factory.spec_of() | {"tier": value}
    facts = begun(KEY, spec, factory.context_of(label=value))
    for text in (*facts.params.values(), *facts.tags.values(), facts.data.name):
        assert text.isprintable()
        assert len(text) <= MAX_TEXT


def test_every_status_has_an_honest_counterpart() -> None:
    assert set(MLFLOW_STATUS) == set(Status)
    assert [s for s in Status if MLFLOW_STATUS[s] == "FINISHED"] == [Status.DONE]
    assert [s for s in Status if MLFLOW_STATUS[s] == "RUNNING"] == [Status.RUNNING]


def test_a_run_that_has_not_begun_is_none(tmp_path: Path) -> None:
    assert read_facts(RunFolder(tmp_path, KEY)) is None


def test_a_linked_artifact_is_not_followed(tmp_path: Path) -> None:
    run = factory.finished(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    run.log.unlink()
    run.log.symlink_to(secret)
    facts = read_facts(run)
    assert facts is not None
    assert [path.name for path in facts.artifacts] == [
        "spec.json",
        "record.json",
        "predictions.npz",
    ]


def test_a_failure_keeps_its_reason(tmp_path: Path) -> None:
    run = factory.begin(tmp_path, status=Status.FAILED)
    state = json.loads(run.state.read_text())
    run.state.write_text(json.dumps({**state, "reason": "the loss\nwas \x1b[31mred"}))
    facts = read_facts(run)
    assert facts is not None
    assert facts.tags["resbench.reason"] == r"the loss\nwas \x1b[31mred"
    assert facts.status is Status.FAILED
