"""``resbench bench`` from its start to its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

from resbench.bench.contest import Bench, Reading
from resbench.bench.goals import GOALS, Goal, choose_goals
from resbench.bench.measure import Spread
from resbench.bench.outcome import measure
from resbench.bench.page import bench_page, write
from resbench.cli.bench import _bench


class Command(Protocol):
    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bench(cache: Path, tmp_path: Path) -> Command:
    environment = {**os.environ, "RESBENCH_CACHE_DIR": str(cache)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "resbench.cli.main", "bench", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


def rows_of(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("*.json")
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    return rows


def check_rows(rows: list[dict[str, Any]], names: set[str]) -> None:
    goals = [goal for goal in GOALS if goal.name in names]
    assert {(row["goal"], row["metric"]) for row in rows} == {(g.name, g.metric) for g in goals}
    for row in rows:
        assert not row["error"]
        value = row["reading"]["value"]
        assert value["low"] <= value["median"] <= value["high"]
        assert row["level"] is None, "a quick run reached a goal"


def test_quick_mode_measures_every_goal_that_is_asked_for(bench: Command, tmp_path: Path) -> None:
    asked = {"9", "10", "11", "memory"}
    done = bench("--device", "cpu", "--quick", "--goals", ",".join(sorted(asked)),
                 "--format", "json", "--output", "out")  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    check_rows(printed["rows"], asked)
    assert printed["rows"] == rows_of(tmp_path / "out")
    (markdown,) = (tmp_path / "out").glob("*.md")
    assert all(f"| {row['metric']}" in markdown.read_text() for row in printed["rows"])
    against = [row["reading"]["against"] for row in printed["rows"] if row["goal"] == "9"]
    assert against[:2] == ["peer loop", "peer loop, flags on"]


@pytest.mark.slow
def test_quick_mode_measures_every_goal_of_a_cpu(bench: Command, tmp_path: Path) -> None:
    done = bench("--device", "cpu", "--quick", "--output", "out")
    assert done.returncode == 0, done.stderr
    check_rows(rows_of(tmp_path / "out"), {goal.name for goal in choose_goals([], "cpu")})


@pytest.mark.gpu
def test_quick_mode_measures_every_goal_of_a_gpu(bench: Command, tmp_path: Path) -> None:
    done = bench("--device", "cuda:0", "--quick", "--output", "out")
    assert done.returncode == 0, done.stderr
    check_rows(rows_of(tmp_path / "out"), {goal.name for goal in choose_goals([], "cuda")})


def test_a_device_that_is_not_there_is_refused_in_one_line(bench: Command) -> None:
    done = bench("--device", "cuda:99")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("device cuda:99: ")
    assert done.stderr.count("\n") == 1


def made_goal(name: str, metric: str, value: float, **changes: Any) -> Goal:
    reading = Reading(Spread(value, value - 1, value + 1), **changes)
    return Goal(name, metric, "cpu", "x", 2, 4, 8, lambda _: [reading])


def test_what_is_measured_is_written_before_the_next_goal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device may be taken away before the last goal."""
    written: list[int] = []

    def look(_: Bench) -> list[Reading]:
        written.append(len(rows_of(tmp_path)))
        return [Reading(Spread(1, 1, 1))]

    first = made_goal(GOALS[0].name, GOALS[0].metric, 3)
    second = Goal(GOALS[1].name, GOALS[1].metric, "cpu", "x", 1, 2, 3, look)
    monkeypatch.setattr("resbench.bench.goals.choose_goals", lambda *_: [first, second])
    assert _bench("cpu", False, None, "json", tmp_path) == 0
    assert written == [1]
    assert len(rows_of(tmp_path)) == 2


def test_a_goal_that_fails_is_a_row_and_the_rest_goes_on(cpu: Bench) -> None:
    def fail(_: Bench) -> list[Reading]:
        raise RuntimeError("the device is on fire\nand more")

    (row,) = measure(Goal("9", "it", "cpu", "x", 1, 2, 3, fail), cpu)
    assert (row.reading, row.level, row.error) == (
        None,
        None,
        "RuntimeError: the device is on fire",
    )
    text = str(bench_page([row], cpu).blocks)
    assert "not measured" in text
    assert "on fire" in text


def test_only_the_judged_row_of_a_full_run_reaches_a_goal(cpu: Bench) -> None:
    assert measure(made_goal("9", "it", 5), cpu)[0].level == "target"
    assert measure(made_goal("9", "it", 1.9), cpu)[0].level == "missed"
    assert measure(made_goal("9", "it", 5, judged=False), cpu)[0].level is None
    assert measure(made_goal("9", "it", 5), Bench(cpu.device, quick=True))[0].level is None


def test_goals_measured_later_that_day_are_added_and_replaced(tmp_path: Path, cpu: Bench) -> None:
    train, load, test = (choose_goals([name], "cpu")[-1].metric for name in ("9", "10", "11"))
    first = [made_goal("9", train, 3), made_goal("11", test, 9, cpu_s=Spread(1, 1, 1))]
    second = [made_goal("10", load, 7), made_goal("9", train, 5)]
    for goals in (first, second):
        files = write([row for goal in goals for row in measure(goal, cpu)], cpu, tmp_path)
    found = [(row["goal"], row["reading"]["value"]["median"]) for row in rows_of(tmp_path)]
    assert found == [("9", 5), ("10", 7), ("11", 9)]
    assert sorted(files) == sorted(tmp_path.iterdir())
