"""A run on its way to a record: what each epoch leaves behind, how it ends, how it resumes."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from safetensors.torch import load, save

from resbench.protocol import AtStep, Epoch, Event, Warned
from resbench.store import atomic
from resbench.store.envelope import open_sealed, seal
from resbench.store.metrics import EpochTiming, read_epochs
from resbench.store.predictions import error_from_predictions, read_predictions
from resbench.store.records import RunRecord, read_record
from resbench.store.verify import verify_run
from resbench.suite.spec import RunSpec
from resbench.train import attempt
from resbench.train import lane as lane_module
from resbench.train.checkpoint import read_meta
from resbench.train.lane import Evaluation, Lane
from resbench.train.masks import measure_signals

from ..factory import loaded
from ..mini import REPORT, outputs, spec_of
from .live import Worker, finished, lane_of, prepared

SPEC = spec_of(training__schedule__total=3, training__batch_size=32)
WITH_VAL = structs.replace(SPEC.training, val_in_train=16)


def errors(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Have evaluations give errors of these percent, in turn."""
    given = iter(values)
    real = Lane.evaluate

    def evaluate(self: Lane, images: np.ndarray, labels: np.ndarray) -> Evaluation:
        result = real(self, images, labels)
        return Evaluation(result.loss, next(given), result.pred, result.prob_true)

    monkeypatch.setattr(Lane, "evaluate", evaluate)


def record_of(worker: Worker, spec: RunSpec) -> RunRecord:
    return read_record(worker.folder(spec))


def test_a_finished_run_is_recorded_from_its_last_epoch(tmp_path: Path) -> None:
    worker = finished(tmp_path, SPEC)
    record, rows = record_of(worker, SPEC), worker.metrics(SPEC)
    assert (record.status, record.result.epoch, record.result.step) == ("done", 3, 6)
    assert [row.step for row in rows] == [2, 4, 6]
    assert record.result.test_top1_err == rows[-1].test_top1_err
    assert record.result.train_loss == rows[-1].train_loss
    predictions = read_predictions(worker.folder(SPEC).predictions)
    assert error_from_predictions(predictions)[0] == pytest.approx(rows[-1].test_top1_err)
    assert np.array_equal(predictions.label, prepared(SPEC).test_labels)
    assert (record.data.train_images, record.data.test_images) == (64, 50)
    assert (record.timing.pieces, record.timing.resumed) == (1, 0)
    assert record.timing.gpu_peak_bytes is None
    timed = read_epochs(worker.folder(SPEC).timing, EpochTiming)
    for row in timed:
        assert row.images_per_s * row.duration_s == pytest.approx(64, rel=0.1)
    train_s, eval_s = sum(row.duration_s for row in timed), sum(row.eval_s for row in timed)
    seen = sum(row.images_per_s * row.duration_s for row in timed)
    assert record.timing.images_per_s == pytest.approx(seen / train_s, abs=0.01)
    assert record.timing.total_s == pytest.approx(train_s + eval_s, abs=2e-3)
    start = lane_of(SPEC)
    assert record.signals_at_start == measure_signals(start, start.model) != record.signals_at_end
    assert record.environment.threads == 1
    assert verify_run(worker.folder(SPEC)) == ()
    assert not worker.folder(SPEC).checkpoint.exists()


def test_every_batch_that_is_tested_is_a_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large network takes a busy CPU an hour for its test images: it does not hang."""
    monkeypatch.setitem(lane_module.EVAL_BATCH, "cpu", 10)
    spec = structs.replace(SPEC, training=WITH_VAL)
    events = finished(tmp_path, spec).events
    steps = [event.step for event in events if isinstance(event, AtStep)]
    assert steps[:9] == [0, 1, *[2] * 7], "50 test images, and 16 of the training, in tens"


def test_each_epoch_says_the_learning_rate_of_its_last_step(tmp_path: Path) -> None:
    drops = [{"at": 1, "factor": 0.1}, {"at": 2.5, "factor": 0.1}]
    spec = spec_of(
        training__schedule__total=3, training__schedule__drops=drops, training__batch_size=32
    )
    rows = finished(tmp_path, spec).metrics(spec)
    assert [row.lr for row in rows] == pytest.approx([0.05, 0.005, 0.0005])


@pytest.mark.parametrize("last", [40.0, 20.0])
def test_the_last_epoch_decides_and_the_first_of_the_best_is_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: float
) -> None:
    errors(monkeypatch, [30.0, 20.0, last])
    result = record_of(finished(tmp_path, SPEC), SPEC).result
    assert (result.test_top1_err, result.best_test_top1_err, result.best_epoch) == (last, 20.0, 2)


def test_early_stopping_waits_its_patience_and_watches_the_contaminated_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the run is interrupted while it waits."""
    spec = spec_of(
        training__schedule__total=9,
        training__val_in_train=16,
        training__early_stopping={"patience": 2},
    )
    test, val = [50, 40, 30, 20, 10, 5], [9, 8, 8, 7.5, 8, 7.5]
    errors(monkeypatch, [float(x) for pair in zip(test, val, strict=True) for x in pair])
    monkeypatch.setattr(attempt, "CHECKPOINT_SHARE", 1e9)
    Worker(tmp_path).stop_after(5).run(spec)
    worker = finished(tmp_path, spec)
    assert worker.epochs() == [6]
    assert [row.val_in_train_err for row in worker.metrics(spec)] == val
    assert record_of(worker, spec).result.epoch == 6


def test_the_contaminated_split_is_the_last_training_images_with_clean_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    real = Lane.evaluate

    def evaluate(self: Lane, images: np.ndarray, labels: np.ndarray) -> Evaluation:
        seen.append((images, labels))
        return real(self, images, labels)

    monkeypatch.setattr(Lane, "evaluate", evaluate)
    spec = spec_of(**REPORT, training__schedule__total=1, data__clean_ratio=0.5)
    worker = finished(tmp_path, spec)
    images = prepared(spec)
    assert np.array_equal(seen[1][0], images.train_images[-16:])
    assert np.array_equal(seen[1][1], images.clean_labels[-16:])
    assert not np.array_equal(images.clean_labels[-16:], images.train_labels[-16:])
    row, record = worker.metrics(spec)[0], record_of(worker, spec)
    assert row.val_in_train_err is not None
    assert record.result.val_in_train_err == row.val_in_train_err
    noise_hash, matrix = images.noise
    assert matrix is not None
    assert len(matrix) == 100
    assert (record.data.noise_hash, record.data.noise_transition) == (noise_hash, tuple(matrix))


# -- resuming ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the run gives without a break."""
    results = tmp_path_factory.mktemp("unbroken")
    finished(results, SPEC)
    return outputs(results)


def interrupted(results: Path, epoch: int = 2) -> Worker:
    """A worker that a signal ended after ``epoch`` epochs, with a checkpoint of each."""
    worker = Worker(results).stop_after(epoch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempt, "CHECKPOINT_SHARE", 1e9)
        ends = worker.run(SPEC)
    assert [end[1:] for end in ends] == [("interrupted", f"after epoch {epoch} of 3")]
    return worker


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the run interrupted after epoch 2 of 3."""
    results = tmp_path_factory.mktemp("started")
    interrupted(results)
    return results


@pytest.fixture
def stopped(started: Path, tmp_path: Path) -> Worker:
    """A worker for a copy of that folder, to damage and to resume in."""
    return Worker(Path(shutil.copytree(started, tmp_path / "results")))


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_run_ends_with_the_same_bytes_and_nothing_temporary(
    tmp_path: Path, unbroken: dict[str, bytes], epoch: int
) -> None:
    interrupted(tmp_path, epoch)
    worker = finished(tmp_path, SPEC)
    assert outputs(tmp_path) == unbroken
    assert worker.epochs() == list(range(epoch + 1, 4))
    timing = record_of(worker, SPEC).timing
    assert (timing.pieces, timing.resumed) == (2, 1)
    rows = read_epochs(worker.folder(SPEC).timing, EpochTiming)
    assert timing.train_s == pytest.approx(sum(row.duration_s for row in rows), abs=2e-3)
    assert not list(tmp_path.rglob(f"{atomic.TEMPORARY}*"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def forge(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Put a sound envelope around another state."""
    payload = open_sealed(path.read_bytes())
    tensors, counters = load(payload), read_meta(payload)
    change(tensors, counters)
    path.write_bytes(seal(save(tensors, {"meta": json.dumps(counters)})))


def other_network(path: Path) -> None:
    """The first tensors fit, and are others; the last does not."""

    def change(tensors: dict[str, Any], _: dict[str, Any]) -> None:
        tensors.update({name: tensor + 1 for name, tensor in tensors.items()})
        last = sorted(tensors)[-1]
        tensors[last] = tensors[last].flatten()[:1].clone().reshape(1, 1, 1, 1, 1)

    forge(path, change)


def other_counters(path: Path) -> None:
    forge(path, lambda _, counters: counters.update(epoch="two"))


def nested_without_end(path: Path) -> None:
    path.write_bytes(seal((10**6).to_bytes(8, "little") + b"[" * 10**6))


@pytest.mark.parametrize("damage", [cut, other_network, other_counters, nested_without_end])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_gives_the_same_end(
    stopped: Worker, unbroken: dict[str, bytes], damage: Callable[[Path], None]
) -> None:
    folder = stopped.folder(SPEC)
    damage(folder.checkpoint)
    worker = finished(stopped.results, SPEC)
    assert outputs(stopped.results) == unbroken
    (warning,) = worker.said(Warned)
    assert warning.startswith(f"{folder.checkpoint}: ")
    assert warning.endswith("set aside as checkpoint.bin.corrupt.")
    assert (folder.path / "checkpoint.bin.corrupt").exists()
    assert worker.epochs() == [2, 3]
    assert [row.epoch for row in read_epochs(folder.timing, EpochTiming)] == [1, 2, 3]


def test_a_checkpoint_of_an_earlier_version_counted_more_and_gives_the_same_end(
    stopped: Worker, unbroken: dict[str, bytes]
) -> None:
    counted = {
        "best_test_top1_err": 1.0,
        "best_epoch": 1,
        "stopping_best": None,
        "stopping_wait": 2,
    }
    forge(stopped.folder(SPEC).checkpoint, lambda _, counters: counters.update(counted))
    worker = finished(stopped.results, SPEC)
    assert (worker.epochs(), worker.said(Warned)) == ([3], [])
    assert outputs(stopped.results) == unbroken
    assert record_of(worker, SPEC).result.best_test_top1_err != 1.0


def test_a_checkpoint_that_does_not_say_all_of_its_environment_is_of_another(
    stopped: Worker,
) -> None:
    path = stopped.folder(SPEC).checkpoint
    forge(path, lambda _, counters: counters["signature"].pop("cpu_capability"))
    ((_, outcome, text),) = stopped.run(SPEC)
    assert outcome == "failed"
    assert "another environment (cpu_capability: None -> " in text


def test_metrics_that_were_lost_are_named_and_nothing_is_made_up(stopped: Worker) -> None:
    stopped.folder(SPEC).metrics.write_bytes(b"")
    ((_, outcome, text),) = stopped.run(SPEC)
    assert outcome == "failed"
    assert "0 epochs, but the checkpoint is of epoch 2" in text
    assert not stopped.folder(SPEC).record.exists()


def test_a_resumed_run_that_stops_within_an_epoch_says_where_it_resumes(stopped: Worker) -> None:
    stopped.on_event = lambda event: setattr(stopped.control, "stop", isinstance(event, AtStep))
    assert stopped.run(SPEC)[0][1:] == ("interrupted", "after epoch 2 of 3")
    assert stopped.epochs() == []


def test_a_signal_at_an_epochs_end_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where no checkpoint was due."""
    worker = Worker(tmp_path)
    worker.on_event = lambda event: setattr(worker.control, "stop", isinstance(event, Epoch))
    monkeypatch.setattr(attempt, "CHECKPOINT_SHARE", -1.0)
    assert worker.run(SPEC)[0][1:] == ("interrupted", "after epoch 1 of 3")
    payload, _ = loaded(worker.folder(SPEC))
    assert payload is not None
    assert read_meta(payload)["epoch"] == 1


def test_checkpoints_take_no_more_than_their_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which an epoch takes 4 s and a checkpoint 0.2 s."""
    saved: list[int] = []
    real, now = attempt.save_checkpoint, 0.0
    clock = SimpleNamespace(monotonic=lambda: now, perf_counter=lambda: now)

    def pass_epoch(event: Event) -> None:
        nonlocal now
        now += 4.0 if isinstance(event, Epoch) else 0.0

    def slow_disk(folder: Any, payload: bytes) -> None:
        nonlocal now
        saved.append(read_meta(payload)["epoch"])
        now += 0.2
        real(folder, payload)

    monkeypatch.setattr(attempt, "time", clock)
    monkeypatch.setattr(attempt, "save_checkpoint", slow_disk)
    worker = Worker(tmp_path)
    worker.on_event = pass_epoch
    assert worker.run(spec_of(training__schedule__total=10))[0][1] == "done"
    assert saved == [1, 4, 7], "0.2 s of writing are worth 10 s of training, and the end none"


# -- diverging -----------------------------------------------------------------------------------


def test_a_diverged_run_is_recorded_with_its_step_and_never_repeated(tmp_path: Path) -> None:
    spec = spec_of(training__optim__lr=1e38)  # no sum of such weights is a number, on any CPU
    worker = Worker(tmp_path)
    ((_, outcome, text),) = worker.run(spec)
    assert (outcome, text) == ("diverged", "the loss was not finite at step 2")
    record = record_of(worker, spec)
    assert (record.status, record.reason) == (outcome, text)
    assert (record.result.test_top1_err, record.result.epoch) == (None, 0)
    assert worker.folder(spec).metrics.read_bytes() == b"", "there, and empty"
    assert verify_run(worker.folder(spec)) == ()
    before = worker.folder(spec).record.read_bytes()
    assert Worker(tmp_path).run(spec)[0][1:] == ("diverged", "already recorded")
    assert worker.folder(spec).record.read_bytes() == before


@pytest.mark.parametrize("split", ["test", "val_in_train"])
def test_weights_that_the_last_step_of_an_epoch_has_broken_are_a_divergence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    real = lane_module.score
    spec, good = (SPEC, 1) if split == "test" else (structs.replace(SPEC, training=WITH_VAL), 3)
    factors = iter([*[1.0] * good, float("nan")])
    monkeypatch.setattr(
        lane_module, "score", lambda logits, labels: real(logits * next(factors), labels)
    )
    worker = Worker(tmp_path)
    ((_, outcome, text),) = worker.run(spec)
    assert (outcome, text) == ("diverged", "the evaluated loss was not finite after step 4")
    assert len(worker.metrics(spec)) == 1
    record = record_of(worker, spec)
    assert (record.result.epoch, record.result.best_epoch) == (1, 1)
    assert record.result.test_top1_err is None


# -- clocks --------------------------------------------------------------------------------------


def test_no_decision_and_no_duration_depends_on_the_wall_clock(
    tmp_path: Path, unbroken: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = iter([1970, 2100] * 10_000)

    class Leaping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(next(jumps), 1, 1, tzinfo=tz or UTC)

    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))
    monkeypatch.setattr(attempt, "datetime", Leaping)
    worker = interrupted(tmp_path)
    folder = worker.folder(SPEC)
    for i, path in enumerate(sorted(folder.path.iterdir())):
        year_s = (1 - 2 * (i % 2)) * 2_000_000_000 + 2_100_000_000
        os.utime(path, (year_s, year_s))
    finished(tmp_path, SPEC)
    assert outputs(tmp_path) == unbroken
    record = record_of(worker, SPEC)
    assert 0 < record.timing.train_s < 1e6, "a leap is of 4e9 s"
    assert record.timing.started[:4] in ("1970", "2100")
