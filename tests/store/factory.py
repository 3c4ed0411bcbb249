"""Small runs with true content: every record here passes every check of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from resbench.store.envelope import load_checkpoint, save_checkpoint
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, EpochTiming, append_epoch, read_epochs
from resbench.store.predictions import Predictions, error_from_predictions, write_predictions
from resbench.store.records import (
    Code,
    DataFacts,
    Environment,
    ModelFacts,
    Result,
    RunRecord,
    Timing,
    write_record,
    write_spec,
)
from resbench.suite.spec import key_of

EPOCHS = 3
IMAGES = 40


def spec_of(seed: int) -> dict[str, Any]:
    """A specification as far as the store looks at it."""
    return {"model": {"name": "attention-56", "width": 0.25}, "seed": seed}


def folder_of(results: Path, seed: int = 0) -> RunFolder:
    return RunFolder(results, key_of(spec_of(seed)))


def predictions_of(seed: int, images: int = IMAGES) -> Predictions:
    random = np.random.default_rng(seed)
    label = random.integers(0, 10, images).astype(np.int16)
    pred = np.where(random.random(images) < 0.2, (label + 1) % 10, label).astype(np.int16)
    return Predictions(
        pred, random.random(images).astype(np.float32), label, np.arange(images, dtype=np.int32)
    )


def metrics_of(seed: int, epoch: int, *, shift: float = 0.0) -> EpochMetrics:
    """The last epoch's test numbers are those of :func:`predictions_of`."""
    error, loss = error_from_predictions(predictions_of(seed))
    return EpochMetrics(
        epoch=epoch,
        step=10 * epoch,
        lr=0.1,
        train_loss=1 / epoch + shift,
        train_top1_err=30.0 / epoch,
        test_loss=loss,
        test_top1_err=error,
    )


def work(run: RunFolder, seed: int, epoch: int, *, shift: float = 0.0) -> None:
    """What a trainer stores at the end of an epoch, in its order."""
    timing = EpochTiming(epoch=epoch, duration_s=1.5, images_per_s=100.0, eval_s=0.1)
    append_epoch(run.timing, timing)
    append_epoch(run.metrics, metrics_of(seed, epoch, shift=shift))
    save_checkpoint(run, f"state of seed {seed} after epoch {epoch}".encode())


def record_of(run: RunFolder, seed: int, device_name: str = "a CPU") -> RunRecord:
    rows = read_epochs(run.metrics, EpochMetrics)
    last, best = rows[-1], min(rows, key=lambda row: row.test_top1_err)
    return RunRecord(
        key=run.key,
        spec=spec_of(seed),
        context={"suite": "smoke", "cell": "a"},
        status="done",
        reason=None,
        result=Result(
            epoch=last.epoch,
            step=last.step,
            test_top1_err=last.test_top1_err,
            test_loss=last.test_loss,
            train_top1_err=last.train_top1_err,
            train_loss=last.train_loss,
            val_in_train_err=None,
            best_test_top1_err=best.test_top1_err,
            best_epoch=best.epoch,
        ),
        model=ModelFacts(parameters=119_000, macs=2_000_000),
        data=DataFacts(
            name="digits",
            label="digits",
            id="sha256:0",
            fingerprint="0",
            published=False,
            train_images=100,
            test_images=IMAGES,
            noise_hash="abc",
            noise_transition=(0.9, 0.1, 0.1, 0.9),
        ),
        environment=Environment(
            python="3.11.7",
            torch="2.13.0",
            device="cpu",
            device_name=device_name,
            cuda=None,
            threads=1,
            cpu="2 cores",
            os="Linux",
            engine_notes=("eager",),
        ),
        code=Code(version="0.1.0", commit=None, dirty=None, source_sha256="0" * 64),
        seeds={"order": 2**62 + 1, "noise": 7},
        timing=Timing(
            started="2026-01-01T00:00:00+00:00",
            train_s=4.5,
            eval_s=0.3,
            total_s=4.8,
            images_per_s=100.0,
            resumed=0,
            pieces=1,
        ),
    )


def loaded(run: RunFolder) -> tuple[bytes | None, list[str]]:
    """The checkpoint that a trainer would resume from, and the warnings."""
    payloads: list[bytes] = []
    warnings = load_checkpoint(run, payloads.append)
    return (payloads[0] if payloads else None), warnings


def begin(results: Path, seed: int = 0, epochs: int = EPOCHS, *, shift: float = 0.0) -> RunFolder:
    """An unfinished run."""
    results.mkdir(parents=True, exist_ok=True)
    run = folder_of(results, seed)
    write_spec(run, spec_of(seed), {"suite": "smoke"})
    for epoch in range(1, epochs + 1):
        work(run, seed, epoch, shift=shift)
    return run


def finish(run: RunFolder, seed: int = 0, *, device_name: str = "a CPU") -> RunRecord:
    """Predictions, the record, and no more checkpoints."""
    write_predictions(run.predictions, predictions_of(seed))
    record = write_record(run, record_of(run, seed, device_name))
    for path in (run.checkpoint, run.checkpoint_prev):
        path.unlink(missing_ok=True)
    return record


def finished(
    results: Path, seed: int = 0, *, shift: float = 0.0, weights: bytes | None = None
) -> RunFolder:
    """A committed run."""
    run = begin(results, seed, shift=shift)
    if weights is not None:
        run.weights.write_bytes(weights)
    finish(run, seed)
    return run
