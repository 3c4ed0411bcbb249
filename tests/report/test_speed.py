from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from resbench.analysis.judge import judge
from resbench.analysis.results import read_results
from resbench.analysis.tables import finished
from resbench.report.page import report_page
from resbench.report.render import RENDERERS
from resbench.suite.catalog import load_suite
from tests.report import records
from tests.report.records import suite_under

SUITES = ("table1_arl_vs_nal", "table2_depth", "table3_mask", "table4_noise")


def test_a_report_of_1000_runs_takes_less_than_3_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In CPU time, so that a busy machine does not decide; imports are not counted."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # writing them is not what is measured
    suite = suite_under(SUITES[0])
    for seed in range(1, 126):
        for number, cell in enumerate(suite.cells):
            records.finish(tmp_path, suite, cell.id, seed, 5 + number + seed % 7 / 10)
    judge(finished(load_suite("table3_mask"), read_results(tmp_path))[0])
    start = time.process_time()
    found = read_results(tmp_path)
    tables = [judge(table) for name in SUITES for table in finished(load_suite(name), found)]
    text = RENDERERS["markdown"](report_page(tables, found))
    assert time.process_time() - start < 3
    assert len(found.scan.records) == 1000
    assert "(125)" in text
