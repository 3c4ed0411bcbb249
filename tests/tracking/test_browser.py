"""The mirror as a browser shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from resbench.tracking.server import serving
from resbench.tracking.settings import find_store
from resbench.tracking.sync import sync

from . import factory

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def shown(page: str, profile: Path) -> str:
    """The page's elements after its scripts have run."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu"]
    command += [f"--user-data-dir={profile}", "--window-size=1700,4000"]
    command += ["--virtual-time-budget=90000", "--dump-dom", page]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the MLflow UI was not looked at")
def test_the_printed_page_shows_runs_charts_and_hostile_text_as_text(
    results: Path, tmp_path: Path
) -> None:
    for seed in (1, 2):
        factory.finished(results, seed)
    factory.begin(results, seed=3, label="<b id=hostile>jpeg75</b>")
    sync(results)
    with serving(find_store(results)) as ui:
        page = ui.pages()[factory.SUITE]
        charts = shown(page, tmp_path)
        table = shown(page.replace("compareRunsMode=CHART&", ""), tmp_path)
    for text in (factory.NAME, "metrics/test_loss", "result/test_top1_err"):
        assert text in charts
    assert re.search(r"3(</\w+>)? matching runs", charts)
    assert "&lt;b id=hostile&gt;" in table
    assert 'id="hostile"' not in table
