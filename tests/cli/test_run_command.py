"""``resbench run`` as a user meets it, with the installed command and real workers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from resbench.cli import work
from resbench.data.sources import identify
from resbench.runner.session import PlanEnd
from resbench.store.state import Status

from ..data.archives import make_parquet_folder
from ..factory import diverge, finish, suite_under
from ..mini import changed, resbench, run_folders, suite_of, write_suite
from .invoke import Shell

CIFAR = {"data.name": "cifar10", "data.image_px": 32}


def lines(text: str) -> list[str]:
    """Lines with their durations left open."""
    return [re.sub(r"\d+ (s|min)\b", "T", line) for line in text.splitlines()]


def test_a_first_run_a_failed_one_and_a_second_call(tmp_path: Path) -> None:
    uneven = {"data.first": 70, "data.train_images": 70}  # no plan knows the first labels
    published = {"arl": {"err": {"value": "5.52"}}}
    suite = changed(suite_of(total=1), {"matrix.learning.nal.set": uneven, "published": published})
    write_suite(tmp_path, suite)
    arguments = ("run", "mini.yaml", "--no-mirror", "-j1")
    first = resbench(tmp_path, *arguments)
    assert (first.returncode, first.stdout) == (1, "")
    begin, arl, nal, summary, logs, heading, result, see = lines(first.stderr)
    assert begin == "2 runs to do, 0 recorded in results; 1 worker on CPU"
    assert re.fullmatch(r"\[1/2\] done  mini arl seed 1  test error \d+\.\d\d %  T", arl)
    assert nal == (
        "[2/2] FAILED  mini nal seed 1  T  a stratified subset of 70 images: class 0 has 6 of the "
        "7 needed. Take at most 40."
    )
    assert summary == "1 done, 1 failed"
    assert logs == "Failed runs are tried again next time."
    assert heading == "Measured, with the number of runs:"
    error = arl.split()[-3]
    assert result == f"  ARL, err %  {error} (1)  published 5.52, not comparable"
    assert see == "See `resbench report mini.yaml`."
    for run in run_folders(tmp_path / "results"):
        run.checkpoint_prev.write_bytes(b"of a worker that was killed at the end")
    again = resbench(tmp_path, *arguments, "--cell", "arl", "--results", "./results")
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr == (
        "Nothing to do: 1 run recorded in results. See `resbench report mini.yaml`.\n"
    )
    plan = resbench(tmp_path, "plan", "mini.yaml", "--seeds", "2", "--format", "json").stdout
    assert [cell["done"] for cell in json.loads(plan)["suites"][0]["cells"]] == [[1], []]
    assert json.loads(plan)["estimated_runs"] == 0, "such a run was measured"
    runs = run_folders(tmp_path / "results")
    assert [run.record.exists() != run.checkpoint_prev.exists() for run in runs] == [True, True]


def test_weights_are_kept_when_asked_for_and_runs_without_them_are_named(tmp_path: Path) -> None:
    write_suite(tmp_path, suite_of(total=1))
    arguments = ("run", "mini.yaml", "--no-mirror", "-j1")
    assert resbench(tmp_path, *arguments, "--cell", "arl").returncode == 0
    (plain,) = run_folders(tmp_path / "results")
    done = resbench(tmp_path, *arguments, "--keep-weights")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == (
        "warning: 1 run recorded without --keep-weights; to have the weights, train into another "
        "folder with --results DIR."
    )
    kept = {run.key for run in run_folders(tmp_path / "results") if run.weights.exists()}
    assert len(kept) == 1
    assert plain.key not in kept
    assert resbench(tmp_path, "verify").stdout == "2 records verified, 0 problems\n"


def test_what_lacks_its_data_set_is_left_out_and_the_rest_is_trained(tmp_path: Path) -> None:
    write_suite(tmp_path, changed(suite_of(total=1), {"matrix.learning.nal.set": CIFAR}))
    done = resbench(tmp_path, "run", "mini.yaml", "--no-mirror", "-j1")
    first, begin, trained, summary, *_ = lines(done.stderr)
    assert first.startswith("warning: 1 run left out: cifar10: not available. Run `resbench data")
    assert begin == "1 run to do, 0 recorded in results; 1 worker on CPU"
    assert re.fullmatch(r"\[1/1\] done  mini arl seed 1  .*", trained)
    assert (done.returncode, summary) == (3, "1 done"), "not all of it is done"


@pytest.mark.parametrize(
    ("end", "code"),
    [(PlanEnd(signal=15), 143), (PlanEnd(ended={"0" * 16: Status.FAILED}), 1), (PlanEnd(), 3)],
)
def test_a_stop_and_a_failure_are_not_hidden_by_a_data_set_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell, end: PlanEnd, code: int
) -> None:
    path = write_suite(tmp_path, changed(suite_of(), {"matrix.learning.nal.set": CIFAR}))
    mirrored = list[bool]()

    def train(*_: object, mirror: bool, **__: object) -> PlanEnd:
        mirrored.append(mirror)
        return end

    monkeypatch.setattr(work, "train", train)
    for command in ("run", "run --no-mirror"):
        assert shell(command, path).code == code
    assert mirrored == [True, False]


def test_a_run_that_diverged_is_not_asked_for_its_weights(tmp_path: Path, shell: Shell) -> None:
    path = write_suite(tmp_path)
    diverge(tmp_path, suite_under(str(path)), "arl", 1)
    finish(tmp_path, suite_under(str(path)), "nal", 1, 20.0)
    done = shell("run --keep-weights", path)
    warning, end = done.err.splitlines()
    assert warning.startswith("warning: 1 run recorded without --keep-weights")
    assert end.startswith("Nothing to do: 2 runs recorded")


@pytest.mark.parametrize("word", ["--engine=graph", "--precision=bf16"])
def test_a_pack_that_would_be_trained_run_by_run_is_refused(
    tmp_path: Path, shell: Shell, nvidia_smi: Path, word: str
) -> None:
    done = shell(f"run --pack 2 {word}", write_suite(tmp_path))
    assert (done.code, done.out) == (2, "")
    assert done.err == "--pack 2: needs --engine graph --precision bf16.\n"


@pytest.mark.parametrize("words", ["--engine graph", "--precision bf16"])
def test_what_only_gpus_can_do_is_refused_where_a_cpu_works_next_to_one(
    tmp_path: Path, shell: Shell, nvidia_smi: Path, words: str
) -> None:
    path = write_suite(tmp_path)
    done = shell(f"run --devices cuda:0,cpu {words}", path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.startswith(f"{words}: ")
    assert shell(f"plan --devices cuda:0 {words}", path).code == 0


def test_data_of_the_users_own_is_trained_on_and_reported_under_its_label(tmp_path: Path) -> None:
    made = make_parquet_folder(tmp_path / "mine")
    data = {"name": "cifar10", "image_px": 8, "train_images": 40, "test_images": 10}
    write_suite(tmp_path, changed(suite_of(total=1), {"base.data": data}))
    given = ("--data", f"cifar10={made}", "--cell", "arl", "--no-mirror", "-j1")
    done = resbench(tmp_path, "run", "mini.yaml", *given)
    assert done.returncode == 0, done.stderr
    label = identify("cifar10", {"cifar10": made}).label
    shown = json.loads(resbench(tmp_path, "report", "mini.yaml", "--format", "json").stdout)
    (own,) = shown["tables"]
    assert f"data {label} (not the published data set)" in own["setting"]["label"]
    assert len(own["values"][0]["values"]) == 1
    assert f"--data cifar10=FOLDER_OF_{label}" in own["command"]


def test_a_damaged_archive_is_refused_before_training_with_both_digests(tmp_path: Path) -> None:
    archive = tmp_path / "archives" / "cifar-10-python.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(b"not an archive")
    write_suite(tmp_path, changed(suite_of(), {"base.data.name": "cifar10"}))
    done = resbench(tmp_path, "run", "mini.yaml", "--no-mirror", "-j1")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert str(archive) in done.stderr
    assert "c58f30108f718f92721af3b95e74349a" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_counted_table_has_nothing_to_train(tmp_path: Path) -> None:
    done = resbench(tmp_path, "run", "table5_architecture")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        "Nothing to train: these tables are counted, not trained. See `resbench report`.\n"
    )
    assert not (tmp_path / "results").exists()
