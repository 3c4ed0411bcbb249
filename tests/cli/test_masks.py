"""``resbench masks`` with real runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from resbench.data import sources
from resbench.store.layout import RunFolder
from resbench.store.predictions import read_predictions
from resbench.store.records import read_record

from ..factory import completed, diverge, suite_under
from ..mini import resbench, run_folders, suite_of, write_suite
from .invoke import Shell

Runs = tuple[RunFolder, RunFolder]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of a suite, ARL and NAL, with their weights."""
    folder = tmp_path_factory.mktemp("masks")
    write_suite(folder, suite_of(total=1))
    done = resbench(folder, "run", "mini.yaml", "--keep-weights", "--no-mirror", "-j1")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pair(folder: Path) -> Runs:
    """The ARL run and the NAL run."""
    runs = run_folders(folder / "results")
    learning = {read_record(run).spec["model"]["learning"]: run for run in runs}
    return learning["arl"], learning["nal"]


@pytest.fixture
def shell(folder: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys, folder / "results")


def test_two_runs_below_each_other_with_class_prediction_and_scale(
    shell: Shell, tmp_path: Path, pair: Runs
) -> None:
    arl, nal = pair
    file = tmp_path / "pair.svg"
    done = shell("masks", arl.key, nal.key[:8], "--images", "3,11", "--output", file)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"2 images of 2 runs in {file}\n"
    picture = ElementTree.fromstring(file.read_bytes())
    texts = [
        " ".join(text.itertext()).strip() for text in picture.iter() if text.tag[-4:] == "text"
    ]
    for run, learning in ((arl, "attention residual learning"), (nal, "naive attention learning")):
        assert f"Attention-56, {learning}" in texts
        error = read_record(run).result.test_top1_err
        assert any(f"error {error:.2f} %" in text and f"({run.key})" in text for text in texts)
        stored = read_predictions(run.predictions)
        for row in (3, 11):
            assert str(stored.label[row]) in texts
            assert f"predicted {stored.pred[row]}" in texts
    assert texts.count("mask M") == texts.count("trunk T") == 6
    assert (texts.count("(1 + M) · T"), texts.count("M · T")) == (3, 3)
    assert "stage 3, 2 × 2" in texts
    images = [element for element in picture.iter() if element.tag[-5:] == "image"]
    assert len(images) == 2 * (2 * (1 + 9) + 9), "input and maps of each image, and nine scales"


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_the_same_runs_give_the_same_bytes(
    shell: Shell, tmp_path: Path, pair: Runs, suffix: str
) -> None:
    files = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for file in files:
        assert shell("masks", pair[0].key, "--images", "0", "--output", file).code == 0
    first, second = (file.read_bytes() for file in files)
    assert first == second
    if suffix == "png":
        pixels = np.asarray(Image.open(files[0]).convert("RGB"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_mistakes_are_one_line_and_write_nothing(shell: Shell, tmp_path: Path, pair: Runs) -> None:
    key, file = pair[0].key, tmp_path / "masks.svg"
    for arguments, code, said in (
        (["ffff"], 2, "run 'ffff': no such run in "),
        ([""], 2, "run '': no such run in "),
        ([key, "--images", "50"], 2, "--images 50: "),
        ([key, "--images", "one"], 2, "--images one: give positions like 0,7,42."),
        ([key], 0, "3 images of 1 run"),
    ):
        images = () if "--images" in arguments else ("--images", "0,7,42")
        done = shell("masks", *arguments, *images, "--output", file)
        assert (done.code, done.err.count("\n")) == (code, 1), done.err
        assert done.err.startswith(said)
        assert file.exists() == (code == 0)
    done = shell("masks", key, "--output", "masks.gif")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "ends in .svg, .pdf, .png" in done.err


def test_weights_that_were_not_kept_are_missed_before_any_data_set_is(
    shell: Shell, tmp_path: Path
) -> None:
    run = completed(tmp_path, 1)
    done = shell("masks", run.key, "--results", tmp_path)
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "trained without --keep-weights: train it" in done.err


def test_a_name_that_several_runs_have_and_a_run_without_weights_are_not_drawn(
    shell: Shell, tmp_path: Path
) -> None:
    run = completed(tmp_path, 1)
    (twin := tmp_path / "runs" / f"{run.key[:15]}{'1' if run.key[15] == '0' else '0'}").mkdir()
    done = shell("masks", run.key[:15], "--results", tmp_path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    names = ", ".join(sorted((run.path.name, twin.name)))
    assert f"run '{run.key[:15]}': 2 runs begin so: {names} in {tmp_path}." in done.err
    lost = diverge(tmp_path, suite_under("table3_mask"), "local", 1)
    done = shell("masks", lost.key, "--results", tmp_path)
    said = f"run {lost.key[:16]}: diverged, so it has no final weights.\n"
    assert (done.code, done.err) == (2, said)


def test_another_data_set_of_the_same_name_is_refused(
    shell: Shell, tmp_path: Path, pair: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sources.identify
    monkeypatch.setattr(
        sources, "identify", lambda *given: replace(real(*given), id=f"sha256:{'7' * 64}")
    )
    done = shell("masks", pair[0].key, "--output", tmp_path / "masks.svg")
    assert done.code == 2
    assert "trained on digits, and digits is another data set. Name it with --data" in done.err
