"""The goals are complete, and the documentation prints the same ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resbench.bench.goals import GOALS, Goal, choose_goals
from resbench.bench.measure import Spread
from resbench.errors import UsageError

DOCS = Path(__file__).parents[2] / "docs" / "speed.md"


def test_all_fifteen_numbered_goals_are_there_and_no_metric_twice() -> None:
    numbers = {int(goal.name) for goal in GOALS if goal.name.isdigit()}
    assert numbers == set(range(1, 16))
    assert len({(goal.name, goal.metric) for goal in GOALS}) == len(GOALS)


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: f"{goal.name} {goal.metric}")
def test_a_goal_aims_higher_step_by_step_and_is_documented(goal: Goal) -> None:
    aims = [aim for aim in (goal.floor, goal.target, goal.stretch) if aim is not None]
    assert aims == sorted(aims, reverse=goal.unit != "x")
    printed = " / ".join("-" if aim is None else f"{aim:g}" for aim in
                         (goal.floor, goal.target, goal.stretch))  # fmt: skip
    row = rf"\| {goal.name} \| {re.escape(goal.metric)} \|.*\| {printed} \|"
    assert re.search(row, DOCS.read_text()), f"docs/speed.md has no row like {row}"


@given(st.floats(0, 100))
def test_the_level_is_the_highest_aim_that_is_reached(value: float) -> None:
    ratio = Goal("1", "", "cpu", "x", 2, 4, None, lambda _: [])
    hours = Goal("2", "", "cpu", "h", 40, 22, 12, lambda _: [])
    spread = Spread(value, 0, 100)
    assert ratio.level(spread) == ("target" if value >= 4 else "floor" if value >= 2 else "missed")
    assert hours.level(spread) == (
        "stretch" if value <= 12 else "target" if value <= 22 else "floor" if value <= 40
        else "missed"
    )  # fmt: skip


def test_goals_are_chosen_by_name_and_device() -> None:
    assert [goal.metric for goal in choose_goals(["9", "10"], "cpu")] == [
        "train Attention-56",
        "train smoke network",
        "CIFAR batches",
    ]
    for device in ("cpu", "cuda"):
        assert {goal.device for goal in choose_goals([], device)} == {device}
    assert choose_goals([], "cpu") + choose_goals([], "cuda") == sorted(
        GOALS, key=lambda goal: goal.device
    )


def test_an_unknown_goal_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(UsageError, match=r"--goals smok: .* Did you mean 'smoke'.* Allowed: 9, 10"):
        choose_goals(["smok"], "cpu")
    with pytest.raises(UsageError, match="no such goal of a cpu device"):
        choose_goals(["15"], "cpu")
