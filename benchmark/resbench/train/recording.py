"""The end of a run: predictions and, last, the record."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import save

from resbench.protocol import End
from resbench.store.atomic import write_atomic
from resbench.store.metrics import EpochTiming, read_epochs
from resbench.store.predictions import Predictions, write_predictions
from resbench.store.records import DataFacts, Environment, Result, RunRecord, Timing, write_record
from resbench.store.state import Status
from resbench.suite.spec import derive_seed
from resbench.train.attempt import Attempt
from resbench.train.checkpoint import named_state
from resbench.train.environment import code_version, environment
from resbench.train.lane import Diverged
from resbench.train.masks import measure_signals

PURPOSES = ("init", "order", "augment", "noise", "dropout")


def finish(attempt: Attempt, diverged: Diverged | None) -> None:
    """Write predictions, kept weights and, last, the record; then drop the checkpoints.

    A run that ``diverged`` has neither predictions nor final weights.
    """
    folder = attempt.folder
    folder.weights.unlink(missing_ok=True)  # of an earlier attempt without a record
    if diverged is None:
        _write_outputs(attempt)
    elif not folder.metrics.exists():
        write_atomic(folder.metrics, b"")
    write_record(folder, _record(attempt, diverged))
    if diverged is None:
        attempt.end = End(attempt.key, Status.DONE)
    else:
        attempt.end = End(attempt.key, Status.DIVERGED, str(diverged))
    folder.drop_checkpoints()


def _write_outputs(attempt: Attempt) -> None:
    evaluation, images, folder = attempt.evaluation, attempt.lane.images, attempt.folder
    assert evaluation is not None
    labels = images.test_labels.astype(np.int16)
    predictions = Predictions(evaluation.pred, evaluation.prob_true, labels, images.test_rows)
    write_predictions(folder.predictions, predictions)
    if attempt.job.keep_weights:  # and running statistics, by their names in the network
        state = named_state(attempt.lane.model)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
        write_atomic(folder.weights, save(tensors))


def _record(attempt: Attempt, diverged: Diverged | None) -> RunRecord:
    lane, job, done = attempt.lane, attempt.job, diverged is None
    images, source = lane.images, job.source
    noise_hash, transition = images.noise
    return RunRecord(
        key=job.key,
        spec=job.spec,
        context=job.context,
        status="done" if done else "diverged",
        result=_result(attempt, done),
        reason=None if done else str(diverged),
        model=attempt.model,
        data=DataFacts(
            name=source.name,
            label=source.label,
            id=source.id,
            fingerprint=images.fingerprint,
            published=source.published,
            train_images=len(images.train_images),
            test_images=len(images.test_images),
            noise_hash=noise_hash,
            noise_transition=None if transition is None else tuple(transition),
        ),
        environment=Environment(
            **environment(lane.device, lane.spec.engine),
            engine_notes=tuple(attempt.counters.changes),
        ),
        code=code_version(),
        seeds={purpose: derive_seed(lane.spec.seed, purpose) for purpose in PURPOSES},
        timing=_timing(attempt),
        signals_at_start=measure_signals(lane, lane.new_model()),
        signals_at_end=measure_signals(lane, lane.model) if done else None,
    )


def _result(attempt: Attempt, done: bool) -> Result:
    rows = attempt.rows
    best = min(rows, key=lambda row: row.test_top1_err, default=None)  # the first of equals
    names = ("test_top1_err", "test_loss", "train_top1_err", "train_loss", "val_in_train_err")
    return Result(
        epoch=len(rows),
        step=rows[-1].step if rows else 0,
        best_test_top1_err=best.test_top1_err if best else None,
        best_epoch=best.epoch if best else None,
        **{name: getattr(rows[-1], name) if done else None for name in names},
    )


def _timing(attempt: Attempt) -> Timing:
    rows = read_epochs(attempt.folder.timing, EpochTiming)
    train_s = sum(row.duration_s for row in rows)
    eval_s = sum(row.eval_s for row in rows)
    seen = sum(row.duration_s * row.images_per_s for row in rows)
    return Timing(
        started=attempt.counters.started,
        train_s=round(train_s, 3),
        eval_s=round(eval_s, 3),
        total_s=round(train_s + eval_s, 3),
        images_per_s=round(seen / train_s, 2) if train_s else 0.0,
        resumed=attempt.counters.pieces - 1,
        pieces=attempt.counters.pieces,
        packed=max((row.packed for row in rows), default=1),
        gpu_peak_bytes=_gpu_peak_bytes(attempt.lane.device),
    )


def _gpu_peak_bytes(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
