"""The mirror as a browser shows it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from resbench.tracking.server import serving
from resbench.tracking.settings import find_store
from resbench.tracking.sync import sync

from . import factory

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the MLflow UI was not looked at")
def test_the_printed_page_shows_runs_and_charts(results: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        factory.finished(results, seed, label="<b id=hostile>jpeg75</b>")
    sync(results)
    with serving(find_store(results)) as ui:
        page = ui.pages()[factory.SUITE]
        command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu"]
        command += [f"--user-data-dir={tmp_path}", "--window-size=1700,1300"]
        command += ["--virtual-time-budget=90000", "--dump-dom", page]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    for text in (factory.NAME, "metrics/test_loss", "result/test_top1_err", "2</span> matching"):
        assert text in shown
    assert 'id="hostile"' not in shown
