from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from resbench.analysis.judge import judge
from resbench.analysis.results import read_results
from resbench.analysis.tables import finished
from resbench.report.page import report_page
from resbench.report.render import RENDERERS
from resbench.store import scan
from resbench.store.layout import RunFolder
from resbench.store.records import RunRecord, read_record
from resbench.suite.catalog import load_suite
from tests.report import records
from tests.report.records import suite_under

SUITES = ("table1_arl_vs_nal", "table2_depth", "table3_mask", "table4_noise")


def test_reports_of_many_runs_read_each_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    suite = suite_under(SUITES[0])
    for seed in range(1, 26):
        for number, cell in enumerate(suite.cells):
            records.finish(tmp_path, suite, cell.id, seed, 5 + number + seed % 7 / 10)
    read: list[str] = []

    def counted(run: RunFolder, **options: Any) -> RunRecord:
        read.append(run.key)
        return read_record(run, **options)

    monkeypatch.setattr(scan, "read_record", counted)
    found = read_results(tmp_path)
    tables = [judge(table) for name in SUITES for table in finished(load_suite(name), found)]
    text = RENDERERS["markdown"](report_page(tables, found))
    assert len(found.scan.records) == 200
    assert sorted(read) == sorted(key[:16] for key in found.scan.records)
    assert "(25)" in text
