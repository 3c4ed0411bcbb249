"""The page about the method and the functions that it is about say the same."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import correlation, fmean, stdev
from typing import get_args

import pytest

from resbench.analysis.arms import arm_of
from resbench.analysis.results import measured, seed_of
from resbench.analysis.tables import predictions_of
from resbench.report.text import CLAIMS
from resbench.stats.cells import CellKind
from resbench.stats.claims import ClaimKind, ClaimVerdict, Question, judge_questions
from resbench.stats.guard import fall_limit, last_fall
from resbench.stats.power import detectable
from resbench.stats.spread import Arm, sampling_sd
from resbench.stats.textbook import mcnemar
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.store.records import RunRecord
from resbench.store.scan import scan
from resbench.suite.schema import Metric
from tests.factory import suite_under
from tests.stats.arms import NEVER_RUN
from tools import simulate

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


def simulated() -> dict[str, list[float]]:
    """Return the rows of the page's tables by label, and their headers in order."""
    section = PAGE.partition(simulate.BEGIN)[2].partition(simulate.END)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    headers = list(simulate.HEADERS.values())
    assert [row for row in rows if row in headers] == headers
    return {row[0]: [float(x) for x in row[1:]] for row in rows if row[-1][-1:].isdigit()
            and row not in headers}  # fmt: skip


def test_every_scenario_of_the_script_is_on_the_page() -> None:
    found = simulated()
    assert {*simulate.EQUAL, *simulate.PUBLISHED} <= found.keys()
    assert set(ROWS) <= found.keys()


def test_no_false_verdict_is_more_frequent_than_the_page_promises() -> None:
    found = simulated()
    noise = 3 * math.sqrt(5 * 95 / 1000)  # of a rate of 5 % in 1,000 studies, at least as many
    for label in simulate.EQUAL:
        most = 10 if label.startswith("14 arms of") else 5  # named under Limits, as are these:
        if not label.startswith("equal means"):
            assert found[label][3] <= most + noise, label
        if not label.startswith("first arm diverges"):  # then it is worse indeed
            assert found[label][4] <= most + noise, label
    for label in simulate.PUBLISHED:
        assert max(found[label][:2]) <= 5 + noise, label


@pytest.mark.parametrize("label", ROWS)
def test_the_functions_still_give_the_numbers_of_the_page(label: str) -> None:
    page = simulated()[label]
    tables = simulate.tables(REPETITIONS, [label]).values()
    ((_, *again),) = [row for table in tables for row in table]
    for ours, theirs in zip(map(float, again), page, strict=True):
        rate = min(max(theirs, 1.0), 99.0)
        assert abs(ours - theirs) <= 4 * math.sqrt(rate * (100 - rate) / REPETITIONS) + 0.1


TWO = (-1.0, 1.0)
EXAMPLE = PAGE.partition("## A worked example")[2].partition("\n## ")[0]


@cache
def example_runs(results: Path, arm: str) -> dict[int, RunRecord]:
    """The runs of an arm of the example, by seed."""
    cell = [["table1_arl_vs_nal", f"attention-56/{arm.lower()}"]]
    runs = scan(results).records.values()
    return {seed_of(run): run for run in runs if run.context["cells"] == cell}


def judge_example(results: Path, seeds: Sequence[int]) -> tuple[ClaimVerdict, dict[str, Arm]]:
    """Judge the claim of the example, the first of five that its suite declares."""
    runs = {name: [example_runs(results, name)[seed] for seed in seeds] for name in ("ARL", "NAL")}
    folders = [RunFolder(results, run.key) for own in runs.values() for run in own]
    kept = predictions_of(folders)
    arms = {name: arm_of(name, own, "test_top1_err", kept) for name, own in runs.items()}
    less = simulate.less("ARL", "NAL")
    claim = Question(less, arms, (1, 2, 3), published=[0.37], at_published_setting=False)
    return judge_questions([claim, *[NEVER_RUN] * 4])[0], arms


def said(*sentences: str) -> None:
    for sentence in sentences:
        assert sentence in EXAMPLE, sentence


def test_the_worked_example_is_what_its_two_runs_give(shipped: Path) -> None:
    rows = re.findall(r"^\| (ARL|NAL) \| `(\w+)` \| 1 \| (\S+) \| (\S+) \|$", EXAMPLE, re.M)
    assert [name for name, *_ in rows] == ["ARL", "NAL"]
    found, arms = judge_example(shipped, [1])
    flips = math.hypot(*(sampling_sd(arm.errors[0], 10_000) for arm in arms.values()))
    for name, key, error, chance in rows:
        assert example_runs(shipped, name)[1].key.startswith(key)
        assert f"{arms[name].errors[0]:.2f}" == error
        assert f"{sampling_sd(arms[name].errors[0], 10_000):.2f}" == chance
    one, other = (arm.correct for arm in arms.values())
    assert one is not None
    assert other is not None
    alone = [int((one > other).sum()), int((one < other).sum())]
    said(
        f"difference is {found.effect_pp:.2f}; chance flips of the images alone give it an sd of "
        f"{flips:.2f}",
        f"NAL alone is right on {alone[1]} images, ARL alone on {alone[0]:,}",
        f"McNemar's p, two-sided, is {mcnemar(one[0], other[0]):.2g} for",
        f"difference of {detectable(3, flips, TWO):.2f} pp",
        f"one of {detectable(3, flips, TWO, alpha=0.01):.2f} after correction for the five claims",
        f"eight find {detectable(8, flips, TWO, alpha=0.01):.2f}",
        f"= {found.published_z:.1f} sd: weak",
    )
    assert (found.verdict, found.look) == ("undecided", 0)


def test_the_arithmetic_of_the_worked_example_is_right(shipped: Path) -> None:
    rows = re.findall(r"^\| (ARL|NAL) \| ((?:\d+\.\d+ \| ){5}\d+\.\d+) \|$", EXAMPLE, re.M)
    found, arms = judge_example(shipped, [1, 2, 3])
    for name, cells in rows:
        errors = arms[name].errors
        shown = (*errors, fmean(errors), stdev(errors), math.sqrt(arms[name].chance_variance))
        assert cells == " | ".join(f"{number:.2f}" for number in shown)
    assert len(rows) == 2
    effect, se, df = found.effect_pp, found.se_pp, found.df
    interval, paired = found.interval, found.paired_interval
    assert effect
    assert se
    assert interval
    assert paired
    said(
        f"difference is {effect:.2f}, its standard error",
        f"= {se:.2f}, t = {effect / se:.2f} at {df:.2f}",
        f"p = {found.p:.2g}",
        f"{interval[0]:+.2f} to {interval[1]:+.2f}; paired by seed it is {paired[0]:+.2f} to "
        f"{paired[1]:+.2f}",
        f"15 × {found.p:.2g} = {found.p_adjusted:.2g}",
    )
    assert found.verdict == "holds_here"


def test_the_arms_of_the_example_pass_the_learning_guard_as_nearly_as_it_says(
    shipped: Path,
) -> None:
    _, arms = judge_example(shipped, [1, 2, 3])
    falls, limits = [], []
    for name, arm in arms.items():
        files = (
            RunFolder(shipped, run.key).metrics for run in example_runs(shipped, name).values()
        )
        curves = ([row.test_top1_err for row in read_epochs(file, EpochMetrics)] for file in files)
        falls.append(fmean(last_fall(curve, 90.0) for curve in curves))
        limits.append(fall_limit(arm.chance_variance, arm.n))
    said(
        f"the errors fell by {falls[0]:.2f} (ARL) and {falls[1]:.2f} (NAL), and chance alone "
        f"explains up to {limits[0]:.2f} and {limits[1]:.2f}",
        f"the two falls are {2 * sum(falls) / math.hypot(*limits):.1f} standard errors",
    )


@pytest.mark.parametrize(
    ("suites", "tier", "metric"),
    [
        (("table1_arl_vs_nal", "table3_mask", "attention_type"), "cpu", "test_top1_err"),
        (("table6_arl_vs_nal_report",), "cpu", "test_top1_err"),
        (("mechanism",), "paper", "gradient_at_start"),
    ],
)
def test_the_correlation_of_arms_at_equal_seeds_is_that_of_the_records(
    shipped: Path, suites: Sequence[str], tier: str, metric: Metric
) -> None:
    records = scan(shipped).records
    arms = {}
    for suite in (suite_under(name, tier=tier) for name in suites):
        for cell in suite.cells:
            keys = tuple(cell.at_seed(seed).key for seed in suite.declared_seeds)
            numbers = (measured(records[key], metric) for key in keys)
            arms[keys] = [number for number in numbers if number is not None]
    pairs = [correlation(*pair) for pair in combinations(arms.values(), 2)]
    assert f"({fmean(pairs):.2f} over {len(pairs)} pairs)" in PAGE.partition("## Limits")[2]


def test_every_verdict_has_a_row_that_says_when_it_is_given() -> None:
    section = PAGE.partition("## What a verdict means")[2].partition("\n## ")[0]
    first = [
        row.split("|")[1].strip().replace("*", "") for row in section.splitlines() if row[:1] == "|"
    ]
    of_values = first.index("verdict on a published number")
    for rows, verdicts in (
        (first[:of_values], {CLAIMS[kind].text for kind in get_args(ClaimKind)}),
        (first, {kind.replace("_", " ") for kind in get_args(CellKind)}),
    ):
        said = {verdict for row in rows for verdict in re.split("; in another setting |, ", row)}
        assert verdicts <= said
