"""The end of a run: predictions and, last, the record."""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np
import torch
from safetensors.torch import save

from resbench.models import Network, build
from resbench.models.count import count_macs, count_parameters
from resbench.store.atomic import write_atomic
from resbench.store.metrics import EpochTiming, read_epochs
from resbench.store.predictions import Predictions, write_predictions
from resbench.store.records import (
    DataFacts,
    Environment,
    ModelFacts,
    Result,
    RunRecord,
    Timing,
    write_record,
)
from resbench.store.state import Status
from resbench.suite.spec import derive_seed
from resbench.train.attempt import Attempt
from resbench.train.environment import code_version, environment
from resbench.train.lane import Diverged
from resbench.train.signals import measure_signals

PURPOSES = ("init", "order", "augment", "noise", "dropout")


def diverge(attempt: Attempt, diverged: Diverged) -> None:
    """End a run at a loss that was not finite."""
    attempt.diverged = diverged
    if not attempt.folder.metrics.exists():
        write_atomic(attempt.folder.metrics, b"")
    finish(attempt)


def finish(attempt: Attempt) -> None:
    """Write predictions, kept weights and, last, the record; then drop the checkpoints."""
    if attempt.diverged is None:
        assert attempt.evaluation is not None
        write_predictions(
            attempt.folder.predictions,
            Predictions(
                attempt.evaluation.pred,
                attempt.evaluation.prob_true,
                attempt.lane.images.test_labels.astype(np.int16),
                attempt.lane.images.test_rows,
            ),
        )
    attempt.folder.weights.unlink(missing_ok=True)  # of an earlier attempt without a record
    if attempt.job.keep_weights and attempt.diverged is None:
        write_atomic(attempt.folder.weights, _weights(attempt))
    write_record(attempt.folder, _record(attempt))
    attempt.status = Status.DONE if attempt.diverged is None else Status.DIVERGED
    attempt.folder.drop_checkpoints()


def _weights(attempt: Attempt) -> bytes:
    """Return weights and running statistics by their names in the network, as safetensors."""
    state = attempt.lane.model.state_dict()
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})


def _record(attempt: Attempt) -> RunRecord:
    lane, job = attempt.lane, attempt.job
    shape = lane.images.train_images.shape
    return RunRecord(
        key=job.key,
        spec=job.spec,
        context=job.context,
        status="done" if attempt.diverged is None else "diverged",
        result=_result(attempt),
        reason=None if attempt.diverged is None else str(attempt.diverged),
        model=_model_facts(lane.spec.model, lane.images.num_classes, shape[1]),
        data=_data_facts(attempt),
        environment=Environment(
            **environment(lane.device), engine_notes=tuple(attempt.counters.changes)
        ),
        code=code_version(),
        seeds={purpose: derive_seed(lane.spec.seed, purpose) for purpose in PURPOSES},
        timing=_timing(attempt),
        signals_at_start=measure_signals(lane, lane.new_model()),
        signals_at_end=measure_signals(lane, lane.model) if attempt.diverged is None else None,
    )


def _result(attempt: Attempt) -> Result:
    last, counters = attempt.last_metrics, attempt.counters
    done = attempt.diverged is None
    return Result(
        epoch=counters.epoch,
        step=last.step if last else 0,
        test_top1_err=last.test_top1_err if last and done else None,
        test_loss=last.test_loss if last and done else None,
        train_top1_err=last.train_top1_err if last and done else None,
        train_loss=last.train_loss if last and done else None,
        val_in_train_err=last.val_in_train_err if last and done else None,
        best_test_top1_err=counters.best_test_top1_err if counters.best_epoch else None,
        best_epoch=counters.best_epoch or None,
    )


def _data_facts(attempt: Attempt) -> DataFacts:
    images, source = attempt.lane.images, attempt.job.source
    noise_hash, transition = images.noise
    return DataFacts(
        name=source.name,
        label=source.label,
        id=source.id,
        fingerprint=images.fingerprint,
        published=source.published,
        train_images=len(images.train_images),
        test_images=len(images.test_images),
        noise_hash=noise_hash,
        noise_transition=None if transition is None else tuple(transition),
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


@lru_cache(maxsize=64)
def _model_facts(network: Network, num_classes: int, image_px: int) -> ModelFacts:
    # Not on the meta device: its arithmetic of shapes loads the compiler, seconds a process.
    model = build(**msgspec.to_builtins(network), num_classes=num_classes)
    return ModelFacts(parameters=count_parameters(model), macs=count_macs(model, image_px))
