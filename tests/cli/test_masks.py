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
from .invoke import Outcome, invoke


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of a suite, ARL and NAL, with their weights."""
    folder = tmp_path_factory.mktemp("masks")
    write_suite(folder, suite_of(total=1))
    done = resbench(folder, "run", "mini.yaml", "--keep-weights", "--no-mirror", "-j1")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pair(folder: Path) -> tuple[RunFolder, RunFolder]:
    """The ARL run and the NAL run."""
    runs = run_folders(folder / "results")
    learning = {read_record(run).spec["model"]["learning"]: run for run in runs}
    return learning["arl"], learning["nal"]


def drawn(
    capsys: pytest.CaptureFixture[str], folder: Path, output: Path | str, *arguments: object
) -> Outcome:
    return invoke(
        capsys, "masks", *arguments, "--output", output, "--results", folder / "results"
    )  # fmt: skip


def test_two_runs_below_each_other_with_class_prediction_and_scale(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    folder: Path,
    pair: tuple[RunFolder, RunFolder],
) -> None:
    arl, nal = pair
    file = tmp_path / "pair.svg"
    done = drawn(capsys, folder, file, arl.key, nal.key[:8], "--images", "3,11")
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
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    folder: Path,
    pair: tuple[RunFolder, RunFolder],
    suffix: str,
) -> None:
    files = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for file in files:
        assert drawn(capsys, folder, file, pair[0].key, "--images", "0").code == 0
    first, second = (file.read_bytes() for file in files)
    assert first == second
    if suffix == "png":
        pixels = np.asarray(Image.open(files[0]).convert("RGB"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_mistakes_are_one_line_and_write_nothing(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    folder: Path,
    pair: tuple[RunFolder, RunFolder],
) -> None:
    key = pair[0].key
    for arguments, code, said in (
        (["ffff"], 2, "run 'ffff': no such run in "),
        ([""], 2, "run '': no such run in "),
        ([key, "--images", "50"], 2, "--images 50: "),
        ([key, "--images", "one"], 2, "--images one: give positions like 0,7,42."),
        ([key], 0, "3 images of 1 run"),
    ):
        file = tmp_path / "masks.svg"
        images = () if "--images" in arguments else ("--images", "0,7,42")
        done = drawn(capsys, folder, file, *arguments, *images)
        assert done.code == code, done.err
        assert done.err.startswith(said)
        assert done.err.count("\n") == 1
        assert file.exists() == (code == 0)
    done = drawn(capsys, folder, "masks.gif", key)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "ends in .svg, .pdf, .png" in done.err


def test_weights_that_were_not_kept_are_missed_before_any_data_set_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = completed(tmp_path, 1)
    done = invoke(capsys, "masks", run.key, "--results", tmp_path)
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "trained without --keep-weights: train it" in done.err


def test_a_name_that_several_runs_have_and_a_run_without_weights_are_not_drawn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = completed(tmp_path, 1)
    (twin := tmp_path / "runs" / f"{run.key[:15]}{'1' if run.key[15] == '0' else '0'}").mkdir()
    done = invoke(capsys, "masks", run.key[:15], "--results", tmp_path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    names = ", ".join(sorted((run.path.name, twin.name)))
    assert f"run '{run.key[:15]}': 2 runs begin so: {names} in {tmp_path}." in done.err
    lost = diverge(tmp_path, suite_under("table3_mask"), "local", 1)
    done = invoke(capsys, "masks", lost.key, "--results", tmp_path)
    said = f"run {lost.key[:16]}: diverged, so it has no final weights.\n"
    assert (done.code, done.err) == (2, said)


def test_another_data_set_of_the_same_name_is_refused(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    folder: Path,
    pair: tuple[RunFolder, RunFolder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = sources.identify
    monkeypatch.setattr(
        sources, "identify", lambda *given: replace(real(*given), id=f"sha256:{'7' * 64}")
    )
    done = drawn(capsys, folder, tmp_path / "masks.svg", pair[0].key)
    assert done.code == 2
    assert "trained on digits, and digits is another data set. Name it with --data" in done.err
