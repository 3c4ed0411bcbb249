"""A data set is one row, and a file if it has a reader of its own: nothing else is edited."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import resbench

from ..mini import PATIENCE_S, changed, own_environment, run_folders, suite_of, write_suite

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
ROW = """    DataSet(
        name="squares",
        classes=3,
        train_images=72,
        test_images=24,
        balanced=(72, 24),
        px=8,
        fingerprint="{fingerprint}",
        reader="resbench.data.squares:read_squares",
    ),
)
DATA_SETS"""


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """A copy of the package with one more row, and the file that reads it."""
    package = tmp_path / "code" / "resbench"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(resbench.__file__).parent, package, ignore=ignored)
    suites = Path(resbench.__file__).resolve().parents[2] / "suites"
    if suites.is_dir():  # a checkout: the wheel has its own copy
        shutil.copytree(suites, package / "_suites")
    (package / "data" / "squares.py").write_text(READER)
    fingerprint = "from resbench.data.squares import read_squares as r; print(r().fingerprint)"
    row = ROW.format(fingerprint=python(tmp_path, "-c", fingerprint).stdout.strip())
    registry = package / "datasets.py"
    text = registry.read_text()
    assert text.count(")\nDATA_SETS") == 1
    registry.write_text(text.replace(")\nDATA_SETS", row))
    return tmp_path


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder / "code"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=own_environment(folder, PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_a_row_and_a_file_are_a_data_set_that_trains(extended: Path) -> None:
    data = {"name": "squares", "image_px": None, "train_images": None, "test_images": None}
    write_suite(extended, changed(suite_of(total=1), {"base.data": data}))
    command = ("-c", "import sys; from resbench.cli.main import main; sys.exit(main())")
    assert python(extended, *command, "validate", "mini.yaml").returncode == 0
    listed = python(extended, *command, "data", "list")
    assert "squares" in listed.stdout, listed.stderr
    assert "(label squares, 72 + 24 images, sha256:" in listed.stdout
    done = python(extended, *command, "run", "mini.yaml", "--no-mirror", "-j1")
    assert done.returncode == 0, done.stderr
    assert "2 done" in done.stderr
    for run in run_folders(extended / "results"):
        record = json.loads(run.record.read_text())
        assert (record["data"]["name"], record["data"]["test_images"]) == ("squares", 24)
    write_suite(extended, changed(suite_of(), {"base.data.name": "square"}))
    wrong = python(extended, *command, "validate", "mini.yaml")
    assert "Did you mean 'squares'?" in wrong.stdout + wrong.stderr
