"""A run on its way to a record: what is written at the end of each epoch, and how it resumes."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from safetensors import SafetensorError

from resbench.errors import EnvironmentFault
from resbench.models.count import count_macs, count_parameters
from resbench.protocol import AtStep, End, Epoch, Job, Unfit, Warned
from resbench.store.envelope import load_checkpoint, save_checkpoint
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, EpochTiming, append_epoch, read_epochs, rewind
from resbench.store.records import Code, ModelFacts
from resbench.store.state import Status, write_state
from resbench.train.checkpoint import dump, read_meta, restore
from resbench.train.control import Emit
from resbench.train.environment import code_version, signature
from resbench.train.lane import Diverged, Evaluation, Lane

CHECKPOINT_SHARE = 0.02
"""At most this share of a run's time goes into writing checkpoints."""


@dataclass
class Counters:
    """What a checkpoint holds next to the tensors."""

    started: str
    """UTC, ISO 8601."""
    signature: dict[str, Any]
    code: Code
    """Of the last attempt, as the signature."""
    epoch: int = 0
    """Whole epochs behind the run."""
    pieces: int = 0
    """Attempts that contributed epochs."""
    changes: list[str] = field(default_factory=list)
    """What was different each time the run was resumed: the code, or the environment, where that
    was permitted."""


class Attempt:
    """One lane with its folder."""

    def __init__(self, job: Job, folder: RunFolder, lane: Lane, emit: Emit) -> None:
        self.job, self.folder, self.lane, self.emit = job, folder, lane, emit
        self.key = job.key
        # Says that an evaluation is still running: a worker silent for too long is killed.
        lane.on_test_batch = lambda: emit(AtStep(self.key, lane.epoch_steps.stop, lane.steps.total))
        network = copy.deepcopy(lane.model)  # it may keep what it computes
        px = lane.images.train_images.shape[1]
        self.model = ModelFacts(parameters=count_parameters(network), macs=count_macs(network, px))
        """Counted before training, so that a network that cannot be counted is not trained."""
        if not self.model.macs:
            raise ValueError("networks.py: no convolution or linear layer of it computes anything")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.signature = signature(lane.device, lane.spec.engine)
        self.counters = Counters(started=now, signature=self.signature, code=code_version())
        self.rows: list[EpochMetrics] = []
        """Of the epochs behind the run, as metrics.jsonl has them."""
        self.evaluation: Evaluation | None = None
        """Of the last epoch."""
        self.end: End | None = None
        """Set once the run is recorded."""
        self.saved_epoch = 0
        """Where the run resumes: the epoch of its checkpoint."""
        self._saved_at = time.monotonic()
        self._save_cost_s = 0.0

    def resume(self) -> None:
        """Continue from the last sound checkpoint, if there is one, and drop later metrics.

        Raises:
            EnvironmentFault: it was written in another environment (another signature).
        """
        for text in load_checkpoint(self.folder, self._restore):
            self.emit(Warned(self.key, text))
        self._check_environment()
        self.counters.pieces += 1
        self.saved_epoch = self.counters.epoch
        for path in (self.folder.metrics, self.folder.timing):
            rewind(path, self.counters.epoch)
        self.rows = read_epochs(self.folder.metrics, EpochMetrics)

    def _restore(self, payload: bytes) -> None:
        try:
            counters = msgspec.convert(read_meta(payload), Counters)
            restore(payload, self.lane.model, self.lane.optimizer)
        except (KeyError, TypeError, RecursionError, SafetensorError) as error:
            raise ValueError(str(error)) from error
        self.counters = counters

    def _check_environment(self) -> None:
        """Refuse to resume where other bits would result, or note it where that is permitted."""
        was, now = self.counters.signature, self.signature
        changes = [
            f"{k}: {was.get(k)} -> {value}" for k, value in now.items() if was.get(k) != value
        ]
        if changes and not self.job.accept_environment:
            text = (
                f"run {self.key[:16]} was started in another environment ({'; '.join(changes)}). "
                "Continuing here could change its numbers. Resume it there, or pass "
                "--accept-environment to continue here; the record will say so."
            )
            self.emit(Unfit(text, self.key))
            raise EnvironmentFault(text)
        before, code = self.counters.code, code_version()
        if before.source_sha256 != code.source_sha256:
            changes.append(f"code: {before.label} -> {code.label}")
        self.counters.changes += [f"epoch {self.counters.epoch}: {change}" for change in changes]
        self.counters.signature, self.counters.code = now, code

    @property
    def finished(self) -> bool:
        """Whether the schedule or early stopping has ended the run."""
        stopping = self.lane.spec.training.early_stopping
        errors = [e for row in self.rows if (e := row.val_in_train_err) is not None]
        if stopping and errors and len(errors) - 1 - errors.index(min(errors)) >= stopping.patience:
            return True
        return self.counters.epoch >= self.lane.steps.epochs

    def end_epoch(self, *, duration_s: float, packed: int) -> None:
        """Evaluate, append the epoch's lines, and write a checkpoint when it is time.

        Raises:
            Diverged: a loss was not finite, or that of the weights is not; nothing is written.
        """
        lane, images, training = self.lane, self.lane.images, self.lane.spec.training
        totals = lane.epoch_totals()
        start = time.perf_counter()
        self.evaluation = lane.evaluate(images.test_images, images.test_labels)
        val: Evaluation | None = None
        if n := training.val_in_train:
            val = lane.evaluate(images.train_images[-n:], images.clean_labels[-n:])
        step = lane.epoch_steps.stop
        if not math.isfinite(self.evaluation.loss + (val.loss if val else 0.0)):
            raise Diverged(f"the evaluated loss was not finite after step {step}")
        metrics = EpochMetrics(
            epoch=self.counters.epoch + 1,
            step=step,
            lr=lane.optimizer.lr,
            **totals._asdict(),
            test_loss=self.evaluation.loss,
            test_top1_err=self.evaluation.top1_err,
            val_in_train_loss=val.loss if val else None,
            val_in_train_err=val.top1_err if val else None,
        )
        timing = EpochTiming(
            epoch=metrics.epoch,
            duration_s=round(duration_s, 4),
            images_per_s=round(len(lane.epoch_steps) * training.batch_size / duration_s, 2),
            eval_s=round(time.perf_counter() - start, 4),
            packed=packed,
        )
        append_epoch(self.folder.timing, timing)
        append_epoch(self.folder.metrics, metrics)
        self.rows.append(metrics)
        self.counters.epoch = metrics.epoch
        self.emit(Epoch(self.key, lane.steps.epochs, lane.steps.total, metrics, timing))
        age = time.monotonic() - self._saved_at
        if not self.finished and age * CHECKPOINT_SHARE >= self._save_cost_s:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write the state of the last whole epoch, unless it is written already.

        Only valid at an epoch's end: in between the weights are of no whole epoch.
        """
        if self.saved_epoch == self.counters.epoch:
            return
        start = time.perf_counter()
        meta = msgspec.to_builtins(self.counters)
        save_checkpoint(self.folder, dump(self.lane.model, self.lane.optimizer, meta))
        self.saved_epoch, self._saved_at = self.counters.epoch, time.monotonic()
        write_state(self.folder, Status.RUNNING, epoch=self.saved_epoch)
        self._save_cost_s = time.perf_counter() - start
