"""The experiment page as a browser shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from resbench.tracking.export import Exporter

from .tables import CELL, finished, stopped
from .test_ui import UI, free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def shown(page: str, profile: Path) -> str:
    """The page's elements after its scripts have run."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu"]
    command += [f"--user-data-dir={profile}", "--window-size=1700,4000"]
    command += ["--virtual-time-budget=90000", "--dump-dom", page]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the MLflow UI was not looked at")
def test_the_address_shows_measured_and_published_errors_and_hostile_text_as_text(
    results: Path, tmp_path: Path
) -> None:
    results = results.rename(results.with_name("<b id=hostile>"))
    for seed in (1, 2):
        finished(results, seed)
    stopped(results, seed=3)
    Exporter(results).export()
    port = free_port()
    command = [*UI, "--results", str(results), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ui:
        assert ui.stdout is not None
        page = ui.stdout.readline().split()[1]
        ui.stdout.readline()
        table = shown(page, tmp_path / "first")
        charts = shown(f"{page}&compareRunsMode=CHART", tmp_path / "second")
        ui.terminate()
    for text in (f"s1 {CELL}", "error/test_top1_err_published", "5.52"):
        assert text in table
    assert re.search(r"3(</\w+>)? matching runs", table)
    assert charts.index("error/test_top1_err") < charts.index("loss/test_loss")
    assert "&lt;b id=hostile&gt;" in table
    assert 'id="hostile"' not in table
