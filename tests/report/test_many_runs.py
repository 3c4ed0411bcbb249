from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from resbench.analysis.judge import report
from resbench.report.render import render
from resbench.report.report_page import report_document
from resbench.store import scan
from resbench.store.layout import RunFolder
from resbench.store.records import RunRecord, read_record
from tests import factory
from tests.factory import suite_under

SUITES = ("table1_arl_vs_nal", "table2_depth", "table3_mask", "table4_noise")


def test_reports_of_many_runs_read_each_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    suite = suite_under(SUITES[0])
    for seed in range(1, 26):
        for number, cell in enumerate(suite.cells):
            factory.finish(tmp_path, suite, cell.id, seed, 5 + number + seed % 7 / 10)
    read: list[str] = []

    def counted(run: RunFolder, **options: Any) -> RunRecord:
        read.append(run.key)
        return read_record(run, **options)

    monkeypatch.setattr(scan, "read_record", counted)
    found = report(SUITES, tmp_path)
    text = render(report_document(found), "markdown")
    assert found.recorded == len(found.runs) == 200
    assert len(read) == len(set(read)) == 200
    assert "(25)" in text
