"""A toy of each kind is one file or one row to add: all are added to a copy, and all are used."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

import resbench

from ..mini import changed, python, ran, run_folders, suite_of, write_suite
from ..suite.test_own_networks import TOY

READER = """
import numpy as np
from resbench.data.images import Images

def read_squares():
    random = np.random.default_rng(0)
    labels = np.arange(96) % 3
    images = random.integers(0, 40, (96, 8, 8, 3), dtype=np.uint8)
    for image, label in zip(images, labels):
        image[1:7, 1:7, label] = 255
    return Images(images[:72], labels[:72], images[72:], labels[72:], 3, ("red", "green", "blue"))
"""
DATA_SET = """    DataSet(
        name="squares",
        classes=3,
        train_images=72,
        test_images=24,
        balanced=(72, 24),
        px=8,
        fingerprint="{fingerprint}",
        reader="resbench.data.squares:read_squares",
    ),
"""
METRIC = (
    '    "test_loss": MetricRow("test loss", "number", lambda record: record.result.test_loss),\n'
)
FORMAT = '    "shout": Format("shout", ".shout"),\n'
RENDERER = "def render(document):\n    return f'{document.title.upper()}: {document.blocks!r}'\n"
TIER = "version: 1\nname: brief\ntitle: Brief\ndescription: One epoch.\n" + (
    "families: {toy: {}}\nschedule: {unit: epoch, total: 1}\n"
)


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """A copy of the package with three more rows and two files; a network and a tier next to it."""
    package = tmp_path / "code" / "resbench"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(resbench.__file__).parent, package, ignore=ignored)
    suites = Path(resbench.__file__).resolve().parents[2] / "suites"
    if suites.is_dir():  # a checkout: the wheel has its own copy
        shutil.copytree(suites, package / "_suites")
    (package / "data" / "squares.py").write_text(READER)
    (package / "report" / "render" / "shout.py").write_text(RENDERER)
    fingerprint = "from resbench.data.squares import read_squares as r; print(r().fingerprint)"
    shown = python(tmp_path, fingerprint, PYTHONPATH=str(tmp_path / "code")).strip()
    for file, end, row in (
        ("datasets.py", ")\nDATA_SETS", DATA_SET.format(fingerprint=shown)),
        ("suite/metrics.py", "}\n\n\ndef of_kind", METRIC),
        ("report/render/__init__.py", "}\n\n\ndef render", FORMAT),
    ):
        text = (package / file).read_text()
        assert text.count(end) == 1
        (package / file).write_text(text.replace(end, row + end))
    (tmp_path / "networks.py").write_text(TOY)
    (tmp_path / "tiers").mkdir()
    (tmp_path / "tiers" / "brief.yaml").write_text(TIER)
    return tmp_path


def resbench_of(folder: Path, *words: str) -> str:
    """Run a command of the copy; return all that it prints."""
    path = os.pathsep.join([str(folder / "code"), os.environ.get("PYTHONPATH", "")])
    done = ran(folder, sys.executable, "-m", "resbench", *words, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_network_a_data_set_a_metric_a_tier_and_a_format_are_a_file_or_a_row_each(
    extended: Path,
) -> None:
    suite = changed(
        suite_of(total=4),
        {
            "base.data": {"name": "squares", "image_px": None, "train_images": None,
                          "test_images": None},
            "base.model": {"family": "toy", "name": "toy-2", "kernel": 3, "width": 1.0},
            "matrix.learning": {"three": {"label": "3x3"}},
            "table.columns.loss": {"label": "loss", "metric": "test_loss"},
        },
    )  # fmt: skip
    write_suite(extended, suite)
    assert "1 cell, 1 run" in resbench_of(extended, "validate", "mini.yaml")
    assert "(label squares, 72 + 24 images, sha256:" in resbench_of(extended, "data", "list")
    done = resbench_of(extended, "run", "mini.yaml", "--tier", "brief", "--no-mirror", "-j1")
    assert "1 done" in done
    (run,) = run_folders(extended / "results")
    record = json.loads(run.record.read_text())
    assert record["result"]["epoch"] == 1, "the tier's"
    assert (record["data"]["name"], record["data"]["test_images"]) == ("squares", 24)
    assert record["spec"]["model"]["family"] == "toy"
    shouted = resbench_of(extended, "report", "mini.yaml", "--format", "shout")
    assert shouted.partition(":")[0].isupper()
    assert f"{record['result']['test_loss']:.3f}" in shouted
