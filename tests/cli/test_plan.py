"""``resbench plan``: a time for every cell, every suite, and what a budget is enough for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from resbench.analysis.plan import PlannedTime, buy, total_s
from resbench.runner.devices import Device
from resbench.store.state import Status, write_state
from resbench.suite.load import suite_names

from ..factory import begin, complete, finish, suite_under, unfinished
from ..mini import changed, suite_of, write_suite
from .invoke import Shell


def times(*left_s: float) -> list[PlannedTime]:
    return [PlannedTime((("s", f"c{i}"),), 1, None, 0, s) for i, s in enumerate(left_s)]


def test_without_a_suite_every_one_has_a_line_and_a_time_on_a_fresh_machine(
    tmp_path: Path, shell: Shell
) -> None:
    found = shell("plan --results", tmp_path / "none")
    assert (found.code, found.err) == (0, "")
    for name in suite_names():
        (line,) = (line for line in found.out.splitlines() if line.split()[:1] == [name])
        assert name == "table5_architecture" or re.search(r"~\d[\d.]* (s|min|h|days)", line), line
    total = found.out.splitlines()[2]
    assert re.search(r"\d runs to do, 0 recorded; .* Time: ~[\d.]+ days in all\.", total)
    assert "estimated" in found.out
    assert "resbench run" not in found.out, "nobody means all of it"


def test_on_a_gpu_one_line_says_what_is_expected_and_unproven(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_suite(tmp_path)
    assert "--engine graph" not in shell("plan", path).out
    h100 = [Device("cuda:0", "NVIDIA H100")]
    monkeypatch.setattr("resbench.runner.devices.gpus", lambda: h100)
    for devices in ("auto", "cpu,cuda:0"):
        page = shell("plan --devices", devices, path).words
        assert "1 worker on NVIDIA H100" in page
        assert "`--engine graph` is expected to be about four times as fast" in page
        assert "Neither has been run on a GPU yet, so the default is the eager engine" in page
        assert "fp32 · eager engine" in page


def bought(runs: list[PlannedTime], workers: int, budget_s: float) -> list[str | None]:
    return [run.bought for run in buy(runs, workers, budget_s)]


def test_a_budget_buys_runs_in_order_on_all_workers() -> None:
    plan = times(5, 5, 5, 5)
    assert bought(plan, 1, 12) == ["whole", "whole", "part", None]
    assert bought(plan, 2, 12) == ["whole"] * 4
    assert bought(plan, 2, 4) == ["part", "part", None, None]
    assert bought(times(20, 5), 2, 10) == ["part", "whole"]


def test_a_run_that_ends_with_the_budget_is_whole_and_none_starts_at_its_end() -> None:
    assert bought(times(5, 5, 5), 1, 10) == ["whole", "whole", None]


def test_no_number_of_workers_ends_before_the_longest_run() -> None:
    assert total_s(times(6, 6, 6), 2) == 9
    assert total_s(times(2, 20, 2), 3) == 20
    assert total_s([], 2) == 0


def test_a_recorded_run_costs_nothing(tmp_path: Path) -> None:
    record = complete(unfinished(tmp_path))
    first, second = times(5, 5)
    done = PlannedTime(first.cells, 1, record, 0, 0.0)
    assert bought([done, second], 1, 6) == [None, "whole"]


def test_the_page_says_what_a_budget_is_enough_for(tmp_path: Path, shell: Shell) -> None:
    path = write_suite(tmp_path, suite_of(seeds=(1, 2, 3)))
    enough = shell("plan -j1 --budget 9h", path).out
    assert "9 h 00 min is enough for 6 runs: each cell then has 3 seeds." in enough
    assert "--budget 9h" in enough, "the command to run has it too"
    budget = shell.json("plan -j1 --budget 9h", path)["budget"]
    assert budget == {"budget_s": 32400.0, "finished": 6, "started": 0}
    short = shell("plan -j1 --set model.width=4 --budget 1s", path).out
    assert "In 1 s no run would finish; 1 run would start." in short
    assert "in budget" not in shell("plan -j1", path).out


def test_only_cells_that_are_chosen_have_to_fit_their_images(shell: Shell) -> None:
    found = shell("plan smoke --set data.image_px=8")
    assert found.code == 2
    assert "(command line): attention-56 of report2019 needs image sides of a" in found.err
    assert shell("plan smoke --set data.image_px=8 --cell mixed").code == 0


def test_a_plan_of_some_cells_is_the_run_of_these(tmp_path: Path, shell: Shell) -> None:
    path = write_suite(tmp_path, suite_of(seeds=(1, 2)))
    found = shell("plan --cell nal", path)
    assert "2 runs to do" in found.out
    assert f"resbench run {path} --cell nal" in found.words
    wrong = shell("plan --cell nall", path)
    assert wrong.code == 2
    assert "Did you mean 'nal'?" in wrong.err
    level = shell("plan table1_arl_vs_nal --cell attention-165")
    assert "Did you mean 'attention-164'?" in level.err


def test_a_level_names_all_its_cells(shell: Shell) -> None:
    plan = "plan --tier tiny --seeds 1 table1_arl_vs_nal"
    found = shell(f"{plan} --cell attention-56 --cell attention-92/nal")
    assert "3 runs to do" in found.out
    shown = re.findall(r"^attention-\S+", found.out, re.M)
    assert shown == ["attention-56/arl", "attention-56/nal", "attention-92/nal"]
    both = shell(f"{plan} table4_noise --cell attention-56").out
    assert "table1_arl_vs_nal: " in both
    assert "table4_noise: " not in both, "it has no such cell"
    assert "8 runs to do" in shell(plan).out


def test_a_plan_says_which_recorded_runs_an_edit_has_put_out_of_use(
    tmp_path: Path, shell: Shell
) -> None:
    path, results = write_suite(tmp_path, suite_of(seeds=(1, 2))), tmp_path / "results"
    for cell in ("arl", "nal"):
        finish(results, suite_under(str(path)), cell, 1, 20.0)
    options = (path, "--results", results)
    as_trained = shell("plan --devices cpu", *options)
    assert "2 runs to do, 2 recorded" in as_trained.out
    assert as_trained.err == ""
    write_suite(tmp_path, changed(suite_of(seeds=(1, 2)), {"base.training.batch_size": 8}))
    edited = shell("plan --devices cpu", *options)
    assert "4 runs to do, 0 recorded" in edited.out
    assert edited.err.startswith("warning: 2 runs to do again: the suite, its protocol,")
    other = shell("plan --devices cpu --set training.optim.lr=0.1", *options)
    assert (other.code, other.err) == (0, ""), "another setting"


def test_a_plan_counts_the_epochs_that_a_stopped_run_has_behind_it(
    tmp_path: Path, shell: Shell
) -> None:
    path = write_suite(tmp_path, suite_of(total=4, seeds=(1, 2)))
    write_state(begin(tmp_path, suite_under(str(path)), "arl", 1), Status.INTERRUPTED, epoch=3)
    (tmp_path / "runs" / "not a run").mkdir()
    found = shell("plan --devices cpu --format json", path)
    started, fresh = json.loads(found.out)["suites"][0]["cells"][0]["todo"]
    assert (started["epochs"], fresh["epochs"]) == (3, 0)
    assert started["left_s"] == pytest.approx(fresh["left_s"] / 4)
    (warning,) = found.err.splitlines()
    assert warning.startswith(f"warning: {tmp_path}/runs/not a run: not the name of a run")


def test_a_setting_of_a_suite_s_own_is_not_the_paper_s_where_one_value_is_set(shell: Shell) -> None:
    found = shell("plan smoke --devices cpu --set training.batch_size=16").out
    assert "Own setting, not the published one" in found
    assert "--set training.batch_size=16" in found
