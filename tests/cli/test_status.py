from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from resbench.store.locks import try_lock
from resbench.store.state import Status, write_state
from tests import factory
from tests.cli.invoke import Shell, invoke
from tests.factory import JPEG, suite_under
from tests.mini import edited_suite, executable, write_suite


def test_every_run_of_a_suite_is_in_exactly_one_state(tmp_path: Path, shell: Shell) -> None:
    suite = suite_under("table3_mask")
    factory.finish(tmp_path, suite, "local", 1, 6.0)
    factory.diverge(tmp_path, suite, "local", 2)
    for cell, seed, state in (("local", 3, Status.FAILED), ("encoder-decoder", 1, Status.OOM),
                              ("encoder-decoder", 2, Status.RUNNING)):  # fmt: skip
        write_state(factory.begin(tmp_path, suite, cell, seed), state, epoch=4, reason="a reason")
    (row,) = shell.json("status table3_mask")["tables"]
    # The run that says it is running has no process behind it: it was interrupted.
    assert row["runs"] == {
        "done": 1, "diverged": 1, "running": 0, "interrupted": 1, "failed": 2, "to do": 4,
    }  # fmt: skip


def test_what_all_settings_have_in_common_is_said_once_and_no_column_is_empty(
    tmp_path: Path, shell: Shell
) -> None:
    for name, cell in (("table3_mask", "local"), ("table1_arl_vs_nal", "attention-56/nal")):
        factory.finish(tmp_path, suite_under(name), cell, 1, 6.0)
    common = "data cifar10 · fp32 · eager engine"
    found = shell("status", "--format", "markdown").out
    assert found.count(common) == found.count(f"All of these: {common}.") == 1
    assert re.search(r"\| suite +\| setting +\| +done \| +to do \|\n", found)
    other = suite_under("table3_mask", data={"cifar10": JPEG})
    factory.finish(tmp_path, other, "local", 1, 6.0)
    found = shell("status", "--format", "markdown").out
    assert found.count(common) == 2
    assert "All of these" not in found


@pytest.mark.parametrize(
    ("state", "epoch", "reason", "said"),
    [
        (Status.FAILED, 4, "No space left", "failed after epoch 4 of 205, No space left"),
        (Status.INTERRUPTED, 1, None, "interrupted after epoch 1 of 205"),
        (Status.INTERRUPTED, 0, None, "interrupted before the end of epoch 1"),
        (Status.INTERRUPTED, 0, "killed", "interrupted before the end of epoch 1, killed"),
    ],
)
def test_unfinished_runs_are_named_with_their_epoch_and_reason(
    tmp_path: Path, shell: Shell, state: Status, epoch: int, reason: str | None, said: str
) -> None:
    run = factory.begin(tmp_path, suite_under("table3_mask"), "local", 1)
    write_state(run, state, epoch=epoch, reason=reason)
    found = shell("status --format markdown")
    assert f"- table3_mask local seed 1: {said} ({run.path.name})\n" in found.out


@pytest.mark.parametrize("fresh", ["timing", "state", None])
def test_a_run_under_way_says_how_far_it_is_and_for_how_long_it_has_been_silent(
    tmp_path: Path, shell: Shell, fresh: str | None
) -> None:
    run = factory.begin(tmp_path, suite_under("table3_mask"), "local", 1)
    hours_ago = time.time() - 7200
    with try_lock(run.path) or pytest.fail("the lock is taken"):
        write_state(run, Status.RUNNING, epoch=1)
        run.metrics.write_text("{}\n" * 3)
        run.timing.write_text("{}\n" * 3)
        for name in {"timing", "state"} - {fresh}:
            os.utime(getattr(run, name), (hours_ago, hours_ago))
        (found,) = shell.json("status table3_mask")["unfinished"]
    assert (found["state"], found["epoch"]) == ("running", 3)
    assert (found["silent_s"] < 3600) == (fresh is not None)


def test_named_suites_are_shown_and_no_others(tmp_path: Path, shell: Shell) -> None:
    for name, cell in (("table3_mask", "local"), ("table4_noise", "noise-10/resnet-164")):
        suite = suite_under(name)
        factory.finish(tmp_path, suite, cell, 1, 6.0)
        factory.begin(tmp_path, suite, cell, 2)
    (tmp_path / "runs" / ("e" * 16)).mkdir()
    data = shell.json("status table3_mask")
    assert [row["suite"] for row in data["tables"]] == ["table3_mask"]
    assert [run["cells"] for run in data["unfinished"]] == [[["table3_mask", "local"]]]
    assert (data["orphans"], len(data["problems"])) == ([], 1)
    text = shell("status table3_mask --format markdown").out
    shown = re.sub("[ \xa0]+", " ", text)
    assert "table4_noise" not in shown
    assert "- table3_mask local seed 2: started, no state (" in shown
    assert re.search(r"^\| suite \| setting \| done \| interrupted \| to do \|$", shown, re.M)
    assert re.search(r"^\| table3_mask \| .* \| 1 \| 1 \| 7 \|$", shown, re.M)


def test_settings_are_listed_apart_with_the_command_that_resumes(
    tmp_path: Path, shell: Shell
) -> None:
    factory.finish(tmp_path, suite_under("table3_mask"), "local", 1, 6.0)
    factory.finish(tmp_path, suite_under("table3_mask", data={"cifar10": JPEG}), "local", 1, 8.0)
    rows = shell.json("status table3_mask")["tables"]
    assert [row["runs"]["done"] for row in rows] == [1, 1]
    assert ["not the published data set" in row["setting"] for row in rows] == [False, True]
    assert "--data cifar10=FOLDER_OF_cifar10-jpeg75" in rows[1]["command"]


def test_runs_of_a_suite_that_was_edited_since_are_strays(tmp_path: Path, shell: Shell) -> None:
    changes = {"name: table3_mask": "name: mine"}
    now = edited_suite(tmp_path / "mine.yaml", "table3_mask", changes)
    changes["model: {name: attention-56}"] = "model: {name: attention-92}"
    before = edited_suite(tmp_path / "before.yaml", "table3_mask", changes)
    factory.finish(tmp_path, suite_under("table3_mask"), "local", 1, 6.0)
    record = factory.finish(tmp_path, suite_under(str(before)), "local", 2, 6.0)
    stray = f"mine local seed 2 ({record.key[:16]})"
    for named, strays in ((), [stray]), ((now,), [stray]), ((before,), []):
        found = shell.json("status", *named)
        assert found["orphans"] == strays
    assert found["tables"][0]["runs"]["done"] == 1


def test_unfinished_runs_that_no_named_suite_resumes_are_not_said_to_resume(
    tmp_path: Path, shell: Shell
) -> None:
    write_state(factory.begin(tmp_path, suite_under("table3_mask"), "local", 1), Status.INTERRUPTED)
    mine = suite_under(str(write_suite(tmp_path)))
    stray = factory.begin(tmp_path, mine, "arl", 1)
    write_state(stray, Status.FAILED, reason="networks.py: has changed")
    shown = shell("status --format markdown").out
    resumed, others = shown.split("1 unfinished run in no cell of these suites.")
    assert "resume them:\n\n- table3_mask local seed 1: interrupted" in resumed
    assert f"{tmp_path}/runs can be removed:" in others
    assert (
        f"- seed 1: failed before the end of epoch 1, networks.py: has changed ({stray.path.name})"
        in others
    )


def test_problems_and_strays_are_named_and_status_still_ends_well(
    tmp_path: Path, shell: Shell
) -> None:
    record = factory.finish(tmp_path, suite_under("table3_mask"), "local", 1, 6.0)
    (tmp_path / "runs" / record.key[:16] / "record.json").write_text("{}")
    for name in ("e" * 16, "what is this"):
        (tmp_path / "runs" / name).mkdir()
    problems = shell.json("status")["problems"]
    assert len(problems) == 3
    assert any("spec.json" in problem for problem in problems)
    factory.finish(tmp_path, suite_under(str(write_suite(tmp_path))), "arl", 1, 6.0)
    shown = shell("status --format markdown").out
    for line in ("3 folders refused and not counted", record.key[:16],
                 "1 finished run in no cell of these suites", "mini arl seed 1 ("):  # fmt: skip
        assert line in shown


def test_a_missing_folder_that_was_not_named_is_an_empty_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = invoke(capsys, "status")
    assert found.code == 0
    assert "0 finished runs" in found.words
    assert "Not run yet" in found.words


@pytest.mark.parametrize("submitted", [False, True])
def test_slurm_is_asked_only_where_workers_were_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell, submitted: bool
) -> None:
    executable(tmp_path / "squeue", "echo no controller >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    factory.finish(tmp_path, suite_under("table3_mask"), "local", 1, 6.0)
    if submitted:
        (tmp_path / "jobs").mkdir()
    found = shell("status")
    assert found.code == 0
    assert ("no view of Slurm's queue" in found.err) == submitted
