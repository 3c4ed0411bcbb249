"""The page about the method and the functions that it is about say the same."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path
from types import ModuleType

import pytest

from resbench.stats.claims import ClaimVerdict, Question, judge_claims
from resbench.stats.spread import Arm, sampling_sd

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "statistics.md").read_text()
REPETITIONS = 250
ROWS = (
    "two arms, sd 0.2 and 1.0",
    "chain of four equal arms",
    "difference as published, 0.37",
    "0.6 pp",
    "coverage, sd 0.2 and 0.2",
)


@pytest.fixture(scope="module")
def simulate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulate", ROOT / "tools" / "simulate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["simulate"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def measured(simulate: ModuleType) -> dict[str, list[float]]:
    """Return the rows of the page's tables by label, and their headers in order."""
    section = PAGE.partition(simulate.BEGIN)[2].partition(simulate.END)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    headers = list(simulate.HEADERS.values())
    assert [row for row in rows if row in headers] == headers
    return {row[0]: [float(x) for x in row[1:]] for row in rows if row[-1][-1:].isdigit()
            and row not in headers}  # fmt: skip


def test_every_scenario_of_the_script_is_on_the_page(simulate: ModuleType) -> None:
    found = measured(simulate)
    assert {*simulate.EQUAL, *simulate.PUBLISHED} <= found.keys()
    assert set(ROWS) <= found.keys()


def test_no_false_verdict_is_more_frequent_than_the_page_promises(simulate: ModuleType) -> None:
    found = measured(simulate)
    noise = 3 * math.sqrt(5 * 95 / 1000)  # of a rate of 5 % in 1,000 studies, at least as many
    for label in simulate.EQUAL:
        if not label.startswith("equal means"):  # named under Limits
            assert found[label][3] <= 5 + noise, label
        if not label.startswith("first arm diverges"):  # then it is worse indeed
            assert found[label][4] <= 5 + noise, label
    for label in simulate.PUBLISHED:
        assert max(found[label][:2]) <= 5 + noise, label


@pytest.mark.parametrize("label", ROWS)
def test_the_functions_still_give_the_numbers_of_the_page(simulate: ModuleType, label: str) -> None:
    page = measured(simulate)[label]
    tables = simulate.tables(REPETITIONS, [label]).values()
    ((_, *again),) = [row for table in tables for row in table]
    for ours, theirs in zip(map(float, again), page, strict=True):
        rate = min(max(theirs, 1.0), 99.0)
        assert abs(ours - theirs) <= 4 * math.sqrt(rate * (100 - rate) / REPETITIONS) + 0.1


def example() -> tuple[dict[str, list[float]], str]:
    text = PAGE.partition("## A worked example")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (ARL|NAL) \| (.*) \|$", text, re.MULTILINE)
    return {name: [float(x) for x in cells.split(" | ")] for name, cells in rows}, text


def judge_example() -> ClaimVerdict:
    arms = {}
    for name, (*errors, mean, _, _) in example()[0].items():
        chance = sampling_sd(mean, 1000) ** 2
        arms[name] = Arm(name, (1, 2, 3), tuple(errors), chance)
    claim = Question("<", [("ARL",), ("NAL",)], arms, (1, 2, 3), published=[0.36], comparable=False)
    return judge_claims([claim])[0]


def test_the_worked_example_is_right() -> None:
    rows, text = example()
    for *errors, mean, sd, chance in rows.values():
        arm = Arm("a", (1, 2, 3), tuple(errors), chance**2)
        assert (arm.mean, math.sqrt(arm.variance)) == pytest.approx((mean, sd), abs=0.006)
        assert sampling_sd(mean, 1000) == pytest.approx(chance, abs=0.006)
    found = judge_example()
    estimate, interval = found.estimate, found.estimate.interval()
    for sentence in (
        f"difference is {estimate.effect:.2f}",
        f"= {estimate.se:.2f}, t = {estimate.effect / estimate.se:.2f} at {estimate.df:.2f}",
        f"p = {found.p:.2g}",
        f"{interval.low:+.2f} to {interval.high:+.2f}",
        f"Three looks make it {found.adjusted_p:.2g}",
        f"= {found.published_z:.1f} sd: weak",
    ):
        assert sentence in text, sentence
    assert found.kind == "leans_for"


def test_every_verdict_is_in_the_table_of_verdicts() -> None:
    table = PAGE.partition("## What a verdict means")[2].partition("\n## ")[0]
    for words in (
        "not run",
        "order at this stage of training",
        "**confirmed**; in another setting **holds here**",
        "**contradicted**; in another setting **reversed here**",
        "**smaller than published**",
        "leans for, leans against",
        "**replicated**",
        "**better**, **worse**",
        "undecided",
    ):
        assert f"| {words}" in table
