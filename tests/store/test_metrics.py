from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from resbench.errors import EnvironmentFault
from resbench.store.metrics import EpochMetrics, EpochTiming, append_epoch, read_epochs, rewind
from resbench.suite.metrics import of_kind

from ..factory import loaded, metrics_of, unfinished, work

ROW = (
    '{"epoch":1,"step":10,"lr":0.1,"train_loss":1.5,"train_top1_err":30.0,'
    '"test_loss":2.0,"test_top1_err":40.0}'
)


def test_rows_come_back_as_written_in_a_fixed_form(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    row = msgspec.json.decode(ROW, type=EpochMetrics)
    with_val = structs.replace(metrics_of(0, 2), val_in_train_err=1.25)
    append_epoch(path, row)
    append_epoch(path, with_val)
    assert path.read_text().splitlines()[0] == ROW
    assert read_epochs(path, EpochMetrics) == [row, with_val]


def test_every_error_that_claims_can_be_about_is_measured_in_every_epoch() -> None:
    assert {*of_kind("error")} <= {*EpochMetrics.__struct_fields__}


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_epochs_follow_each_other(tmp_path: Path, epoch: int) -> None:
    path = tmp_path / "timing.jsonl"
    timing = EpochTiming(epoch=1, duration_s=1.0, images_per_s=2.0, eval_s=0.5)
    append_epoch(path, timing)
    with pytest.raises(ValueError, match=f"epoch {epoch} cannot follow epoch 1"):
        append_epoch(path, structs.replace(timing, epoch=epoch))
    assert len(read_epochs(path, EpochTiming)) == 1


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_makes_no_row(tmp_path: Path, number: float) -> None:
    path = tmp_path / "metrics.jsonl"
    append_epoch(path, metrics_of(0, 1))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        append_epoch(path, structs.replace(metrics_of(0, 2), test_loss=number))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (("1.5", "NaN"), "malformed"),
        (("1.5", "1e999"), "train_loss"),
        (("1.5", '"1.5"'), "train_loss"),
        (("40.0", "140.0"), "test_top1_err"),
        (('"lr"', '"rate"'), "rate"),
        (('"epoch":1', '"epoch":2'), "epoch 2 where 1 was due"),
        (('"epoch":1', '"epoch":true'), "epoch"),
        ((ROW, ""), "truncated"),
        ((ROW, ROW[:50]), "truncated"),
        ((ROW, "\0" * 30), "malformed"),
        ((ROW, "[1]"), "object|instance"),
    ],
)
def test_damage_before_the_last_line_names_file_and_line(
    tmp_path: Path, damage: tuple[str, str], said: str
) -> None:
    path = tmp_path / "metrics.jsonl"
    second = ROW.replace('"epoch":1', '"epoch":2')
    path.write_text(f"{ROW}\n{second}\n")
    assert len(read_epochs(path, EpochMetrics)) == 2  # control
    path.write_text(f"{ROW.replace(*damage)}\n{second}\n")
    with pytest.raises(EnvironmentFault, match=rf"metrics\.jsonl:1: damaged \(.*({said})"):
        read_epochs(path, EpochMetrics)
    before = path.read_bytes()
    with pytest.raises(EnvironmentFault, match=r"metrics\.jsonl:1: damaged"):
        append_epoch(path, metrics_of(0, 3))
    assert path.read_bytes() == before


@pytest.mark.parametrize("killed_in", [1, 2, 3, 4])
@pytest.mark.parametrize("torn", ["", '{"epoch":', "x" * 5])
def test_interrupted_and_unbroken_runs_have_identical_metrics(
    tmp_path: Path, killed_in: int, torn: str
) -> None:
    unbroken = unfinished(tmp_path / "unbroken", epochs=5)
    run = unfinished(tmp_path / "broken", epochs=killed_in)
    with run.metrics.open("a") as file:  # the next epoch's line, torn by the kill
        file.write(torn)
    run.checkpoint.write_bytes(b"")  # and the newest checkpoint is lost: back to the one before
    payload, _ = loaded(run)
    epoch = int(payload.split()[-1]) if payload else 0
    assert epoch == killed_in - 1
    for path in (run.metrics, run.timing):
        rewind(path, epoch)
        assert len(path.read_bytes().splitlines()) == epoch
    for next_epoch in range(epoch + 1, 6):
        work(run, 0, next_epoch)
    assert run.metrics.read_bytes() == unbroken.metrics.read_bytes()
    assert run.checkpoint.read_bytes() == unbroken.checkpoint.read_bytes()


def test_epochs_lost_before_the_checkpoint_are_named(tmp_path: Path) -> None:
    run = unfinished(tmp_path, epochs=2)
    with pytest.raises(EnvironmentFault, match="2 epochs, but the checkpoint is of epoch 3"):
        rewind(run.metrics, 3)


def test_a_rewind_that_the_disk_refuses_loses_no_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unfinished(tmp_path, epochs=2)
    before = run.metrics.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        rewind(run.metrics, 1)
    assert run.metrics.read_bytes() == before


def test_a_missing_file_holds_no_epochs_and_is_not_made_by_rewinding(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_epochs(path, EpochMetrics) == []
    rewind(path, 0)
    assert not path.exists()
