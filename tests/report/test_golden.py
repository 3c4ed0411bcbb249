"""Whole pages against committed files; RESBENCH_UPDATE_GOLDEN=1 writes them anew, to be read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from resbench.analysis.judge import judge
from resbench.analysis.results import read_results
from resbench.analysis.tables import finished
from resbench.report.document import Page
from resbench.report.page import report_page
from resbench.report.render import RENDERERS
from resbench.report.status import status_page
from resbench.suite.catalog import load_suite
from resbench.suite.expand import DataChoice
from tests.report import records
from tests.report.records import JPEG, suite_under

HERE = Path(__file__).parent
SUITE = "arms.yaml"
RESULTS = Path("results")


@pytest.fixture(autouse=True)
def beside_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, so that pages are the same on every machine."""
    shutil.copytree(HERE / "suites", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("resbench.report.data.__version__", "0")


def nothing() -> None:
    pass


def half() -> None:
    """Two of five seeds of one cell, a diverged run, one seed of another, one just begun."""
    suite = suite_under(SUITE)
    for seed, error in ((1, 5.4), (2, 5.8)):
        records.finish(RESULTS, suite, "attention-56/arl", seed, error, best=error - 0.2)
    records.diverge(RESULTS, suite, "attention-56/arl", 3)
    records.finish(RESULTS, suite, "attention-56/nal", 1, 6.1, train=9.2)
    records.begin(RESULTS, suite, "attention-92/arl", 1)


def whole() -> None:
    suite = suite_under(SUITE)
    for seed in suite.seeds:
        shift = seed / 10
        records.finish(RESULTS, suite, "attention-56/arl", seed, 5.2 + shift)
        records.finish(RESULTS, suite, "attention-56/nal", seed, 6.2 + shift, train=8.9 + shift)
        records.finish(RESULTS, suite, "attention-92/arl", seed, 5.6 + shift, device="another GPU")
        records.finish(RESULTS, suite, "attention-92/nal", seed, 7.0 + shift)


def mixed() -> None:
    """Printed data, other data, a shorter schedule, a tier, an override: five tables."""
    for number, suite in enumerate([
        suite_under(SUITE),
        suite_under(SUITE, data={"cifar10": JPEG}),
        suite_under(SUITE, scale=0.1),
        suite_under(SUITE, tier="tiny"),
        suite_under(SUITE, engine="graph", precision="bf16",
                    overrides=(("training.optim.lr", 0.05), ("model.mask", "local"))),
    ]):  # fmt: skip
        records.finish(RESULTS, suite, "attention-56/arl", 1, 10 + number)


def hostile() -> None:
    """The suite's own words, and what a record says of its data and device, are full of markup."""
    evil = "</td><script>alert(1)</script> | [x](http://evil) **b** `a|b` $x$ <!-- &lt; _i_ \\"
    quoted = {mark: json.dumps(f"{mark}{evil}") for mark in ("", "# ", "1. ", "- ")}
    text = Path(SUITE).read_text().replace("Error (%) of two arms", quoted[""])
    text = text.replace("{label: Attention-56,", f"{{label: {quoted['# ']},")
    text = text.replace("note: From a log.", f"note: {quoted['1. ']}")
    text = text.replace("text: One arm beats the other.", f"text: {quoted['- ']}")
    Path(SUITE).write_text(text)
    choice = DataChoice("cifar10", f"{evil}\nnext \x1b[31m\u202e", f"sha256:{'6' * 64}", True)
    suite = suite_under(SUITE, data={"cifar10": choice})
    device = "<b>GPU</b> | 1\x1b[31m"
    records.finish(RESULTS, suite, "attention-56/nal", 1, 12.0, train=9.2, device=device)
    records.finish(RESULTS, suite, "attention-56/arl", 1, 11.0, device=device)


def page() -> Page:
    found = read_results(RESULTS)
    return report_page([judge(table) for table in finished(load_suite(SUITE), found)], found)


def check(name: str, text: str) -> None:
    golden = HERE / "golden" / name
    if os.environ.get("RESBENCH_UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


CASES = [nothing, half, whole, mixed, hostile]


@pytest.mark.parametrize("made", CASES, ids=lambda made: made.__name__)
def test_the_page_in_markdown_is_the_one_that_was_read_and_accepted(
    made: Callable[[], None],
) -> None:
    made()
    check(f"{made.__name__}.md", RENDERERS["markdown"](page()))


def test_the_page_in_json_and_csv_is_complete_and_stable() -> None:
    half()
    check("half.json", RENDERERS["json"](page()))
    check("half.csv", RENDERERS["csv"](page()))


def test_the_page_on_a_terminal_of_80_columns_parts_wide_tables_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    whole()
    text = RENDERERS["rich"](page())
    assert max(map(len, text.splitlines())) <= 80
    check("whole.txt", text)


def test_the_state_of_a_folder_names_what_is_begun_refused_or_strange() -> None:
    half()
    shipped = suite_under("table3_mask")
    stray = records.finish(RESULTS, shipped, "local", 1, 7.0)
    damaged = records.finish(RESULTS, suite_under(SUITE), "attention-56/nal", 2, 7.0)
    path = RESULTS / "runs" / damaged.key[:16] / "record.json"
    path.write_text(path.read_text().replace('"test_top1_err": 7.0', '"test_top1_err": 4.0'))
    status = status_page([load_suite(SUITE)], read_results(RESULTS))
    text = RENDERERS["markdown"](status).replace(stray.key[:16], "STRAY")
    check("status.md", text.replace(damaged.key[:16], "DAMAGED"))
