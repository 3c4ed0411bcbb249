from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resbench.store.state import Status, write_state
from tests import factory
from tests.cli.invoke import invoke
from tests.factory import JPEG, suite_under

Capture = pytest.CaptureFixture[str]


def suites(out: str) -> dict[str, Any]:
    return {row["suite"]: row for row in json.loads(out)["tables"]}


def test_every_run_of_a_suite_is_in_exactly_one_state(tmp_path: Path, capsys: Capture) -> None:
    suite = suite_under("table3_mask")
    factory.finish(tmp_path, suite, "local", 1, 6.0)
    factory.diverge(tmp_path, suite, "local", 2)
    for cell, seed, state in (("local", 3, Status.FAILED), ("encoder-decoder", 1, Status.OOM),
                              ("encoder-decoder", 2, Status.RUNNING)):  # fmt: skip
        write_state(factory.begin(tmp_path, suite, cell, seed), state, epoch=4, reason="a reason")
    found = invoke(capsys, "status", "--results", tmp_path, "--format", "json")
    row = suites(found.out)["table3_mask"]
    counts = row["runs"]
    # The run that says it is running has no process behind it: it was interrupted.
    assert counts == {
        "done": 1, "diverged": 1, "running": 0, "interrupted": 1, "failed": 2, "to do": 4,
    }  # fmt: skip
    assert sum(counts.values()) == 9


def test_unfinished_runs_are_named_with_their_epoch_and_reason(
    tmp_path: Path, capsys: Capture
) -> None:
    run = factory.begin(tmp_path, suite_under("table3_mask"), "local", 1)
    write_state(run, Status.FAILED, epoch=4, reason="No space left")
    found = invoke(capsys, "status", "--results", tmp_path, "--format", "markdown")
    line = f"table3_mask local seed 1: failed after epoch 4 of 205, No space left ({run.path.name})"
    assert f"- {line}\n" in found.out
    for epoch, said in ((1, "after epoch 1 of 205"), (0, "before the end of epoch 1")):
        write_state(run, Status.INTERRUPTED, epoch=epoch, reason=f"after epoch {epoch} of 205")
        found = invoke(capsys, "status", "--results", tmp_path, "--format", "markdown")
        assert f"- table3_mask local seed 1: interrupted {said} ({run.path.name})\n" in found.out


def test_named_suites_are_shown_and_no_others(tmp_path: Path, capsys: Capture) -> None:
    for name, cell in (("table3_mask", "local"), ("table4_noise", "noise-10/resnet-164")):
        suite = suite_under(name)
        factory.finish(tmp_path, suite, cell, 1, 6.0)
        factory.begin(tmp_path, suite, cell, 2)
    (tmp_path / "runs" / ("e" * 16)).mkdir()
    words = ("status", "table3_mask", "--results", tmp_path, "--format")
    data = json.loads(invoke(capsys, *words, "json").out)
    assert [row["suite"] for row in data["tables"]] == ["table3_mask"]
    assert [run["cells"] for run in data["unfinished"]] == [[["table3_mask", "local"]]]
    assert (data["orphans"], len(data["problems"])) == ([], 1)
    shown = invoke(capsys, *words, "markdown").out
    assert "table4_noise" not in shown
    assert "- table3_mask local seed 2: started, no state (" in shown


def test_settings_are_listed_apart_with_the_command_that_resumes(
    tmp_path: Path, capsys: Capture
) -> None:
    factory.finish(tmp_path, suite_under("table3_mask"), "local", 1, 6.0)
    factory.finish(tmp_path, suite_under("table3_mask", data={"cifar10": JPEG}), "local", 1, 8.0)
    found = invoke(capsys, "status", "--results", tmp_path, "--format", "json")
    rows = [row for row in json.loads(found.out)["tables"] if row["suite"] == "table3_mask"]
    assert [row["runs"]["done"] for row in rows] == [1, 1]
    assert ["not the published data set" in row["setting"] for row in rows] == [False, True]
    assert "--data cifar10=FOLDER_OF_cifar10-jpeg75" in rows[1]["command"]


def test_runs_of_an_edited_suite_are_counted_as_strays_unless_that_suite_is_named(
    tmp_path: Path, capsys: Capture
) -> None:
    from resbench.suite.load import suite_folder

    path = tmp_path / "mine.yaml"
    text = (suite_folder() / "table3_mask.yaml").read_text()
    path.write_text(text.replace("name: table3_mask", "name: mine").replace(
        "model: {name: attention-56}", "model: {name: attention-92}"))  # fmt: skip
    record = factory.finish(tmp_path / "r", suite_under(str(path)), "local", 1, 6.0)
    found = json.loads(
        invoke(capsys, "status", "--results", tmp_path / "r", "--format", "json").out
    )
    assert found["orphans"] == [f"mine local seed 1 ({record.key[:16]})"]
    named = invoke(capsys, "status", path, "--results", tmp_path / "r", "--format", "json")
    assert json.loads(named.out)["orphans"] == []
    assert suites(named.out)["mine"]["runs"]["done"] == 1


def test_problems_are_named_and_status_still_ends_well(tmp_path: Path, capsys: Capture) -> None:
    record = factory.finish(tmp_path, suite_under("table3_mask"), "local", 1, 6.0)
    (tmp_path / "runs" / record.key[:16] / "record.json").write_text("{}")
    (tmp_path / "runs" / ("e" * 16)).mkdir()
    (tmp_path / "runs" / "what is this").mkdir()
    found = invoke(capsys, "status", "--results", tmp_path, "--format", "json")
    assert found.code == 0
    problems = json.loads(found.out)["problems"]
    assert len(problems) == 3
    assert any("spec.json" in problem for problem in problems)


def test_a_missing_folder_that_was_not_named_is_an_empty_one(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = invoke(capsys, "status")
    assert found.code == 0
    assert "0 finished runs" in " ".join(found.out.split())
    assert "Not run yet" in " ".join(found.out.split())


@pytest.mark.parametrize("submitted", [False, True])
def test_slurm_is_asked_only_where_workers_were_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, submitted: bool
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho no controller >&2; exit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    factory.finish(tmp_path, suite_under("table3_mask"), "local", 1, 6.0)
    if submitted:
        (tmp_path / "jobs").mkdir()
    found = invoke(capsys, "status", "--results", tmp_path)
    assert found.code == 0
    assert ("no view of Slurm's queue" in found.err) == submitted
