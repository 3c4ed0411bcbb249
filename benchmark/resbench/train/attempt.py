"""A run on its way to a record: what is written at the end of each epoch, and how it resumes."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from safetensors import SafetensorError

from resbench.errors import EnvironmentFault
from resbench.protocol import Epoch, Job, Unfit, Warned
from resbench.store.envelope import load_checkpoint, save_checkpoint
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, EpochTiming, append_epoch, read_epochs, rewind
from resbench.store.state import Status
from resbench.train.checkpoint import dump, read_meta, restore
from resbench.train.control import Emit
from resbench.train.determinism import signature
from resbench.train.lane import Diverged, EpochTotals, Evaluation, Lane

CHECKPOINT_SHARE = 0.02
"""At most this share of a run's time goes into writing checkpoints."""


@dataclass
class Counters:
    """What a checkpoint holds next to the tensors."""

    epoch: int = 0
    best_test_top1_err: float = float("inf")
    best_epoch: int = 0
    stopping_best: float = float("inf")
    stopping_wait: int = 0
    pieces: int = 0
    """Attempts that contributed epochs."""
    signature: dict[str, Any] = field(default_factory=dict)
    started: str = ""
    """UTC, ISO 8601."""
    changes: list[str] = field(default_factory=list)
    """Differences of environment under which the run was resumed by permission."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values; infinity becomes null."""
        return {k: None if v == float("inf") else v for k, v in asdict(self).items()}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Counters:
        """Return the counters that :meth:`to_json` wrote."""
        unset = [k for k in ("best_test_top1_err", "stopping_best") if value[k] is None]
        return Counters(**value | dict.fromkeys(unset, float("inf")))


class Attempt:
    """One lane with its folder."""

    def __init__(self, job: Job, folder: RunFolder, lane: Lane, emit: Emit) -> None:
        self.job, self.folder, self.lane, self.emit = job, folder, lane, emit
        self.key = job.key
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.counters = Counters(started=now, signature=signature(lane.device))
        self.status = Status.RUNNING
        self.evaluation: Evaluation | None = None
        self.diverged: Diverged | None = None
        self._saved_epoch = 0
        self._saved_at = time.monotonic()
        self._save_cost_s = 0.0
        self.last_epoch_s: float | None = None
        """Wall time of the last epoch, with the evaluation of every run of a pack."""
        self.last_metrics: EpochMetrics | None = None

    # -- resuming -------------------------------------------------------------------------------

    def resume(self) -> None:
        """Continue from the last sound checkpoint, if there is one, and drop later metrics.

        Raises:
            EnvironmentFault: it was written in another environment (another signature).
        """
        for text in load_checkpoint(self.folder, self._restore):
            self.emit(Warned(self.key, text))
        self._check_environment()
        self.counters.pieces += 1
        self._saved_epoch = self.counters.epoch
        for path in (self.folder.metrics, self.folder.timing):
            rewind(path, self.counters.epoch)
        rows = read_epochs(self.folder.metrics, EpochMetrics)
        self.last_metrics = rows[-1] if rows else None

    def _restore(self, payload: bytes) -> None:
        try:
            counters = Counters.from_json(read_meta(payload))
            restore(payload, self.lane.model, self.lane.optimizer)
        except (KeyError, TypeError, RecursionError, SafetensorError) as error:
            raise ValueError(str(error)) from error
        self.counters = counters

    def _check_environment(self) -> None:
        """Refuse to resume where other bits would result, or note it where that is permitted."""
        was, now = self.counters.signature, signature(self.lane.device)
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
        self.counters.changes += [f"epoch {self.counters.epoch}: {change}" for change in changes]
        self.counters.signature = now

    @property
    def done_epochs(self) -> int:
        """Number of whole epochs behind this run."""
        return self.counters.epoch

    @property
    def expected_epoch_s(self) -> float:
        """Seconds that the next epoch should take, 0 where nothing is known."""
        return self.last_epoch_s if self.last_epoch_s is not None else self.job.epoch_s or 0.0

    @property
    def where(self) -> str:
        """How far the run is, in words."""
        return f"after epoch {self.done_epochs} of {self.lane.steps.epochs}"

    @property
    def finished(self) -> bool:
        """Whether the schedule or early stopping has ended the run."""
        stopping = self.lane.spec.training.early_stopping
        stopped = stopping is not None and self.counters.stopping_wait >= stopping.patience
        return stopped or self.counters.epoch >= self.lane.steps.epochs

    # -- an epoch's end --------------------------------------------------------------------------

    def end_epoch(
        self,
        epoch: int,
        steps: range,
        totals: EpochTotals,
        *,
        duration_s: float,
        packed: int,
    ) -> None:
        """Evaluate, append the epoch's lines, and write a checkpoint when it is time.

        Raises:
            Diverged: the last step has left weights whose loss is not finite; nothing is written.
        """
        start = time.perf_counter()
        images = self.lane.images
        self.evaluation = self.lane.evaluate(images.test_images, images.test_labels)
        val: Evaluation | None = None
        if n := self.lane.spec.training.val_in_train:
            val = self.lane.evaluate(images.train_images[-n:], images.clean_labels[-n:])
        if not math.isfinite(self.evaluation.loss + (val.loss if val else 0.0)):
            raise Diverged(f"the evaluated loss was not finite after step {steps.stop}")
        metrics = EpochMetrics(
            epoch=epoch,
            step=steps.stop,
            lr=self.lane.lr,
            **totals._asdict(),
            test_loss=self.evaluation.loss,
            test_top1_err=self.evaluation.top1_err,
            val_in_train_loss=val.loss if val else None,
            val_in_train_err=val.top1_err if val else None,
        )
        self._count(metrics)
        eval_s = time.perf_counter() - start
        timing = EpochTiming(
            epoch=epoch,
            duration_s=round(duration_s, 4),
            images_per_s=round(len(steps) * self.lane.spec.training.batch_size / duration_s, 2),
            eval_s=round(eval_s, 4),
            packed=packed,
        )
        append_epoch(self.folder.timing, timing)
        append_epoch(self.folder.metrics, metrics)
        self.last_metrics = metrics
        self.emit(Epoch(self.key, self.lane.steps.epochs, self.lane.steps.total, metrics, timing))
        age = time.monotonic() - self._saved_at
        if not self.finished and age * CHECKPOINT_SHARE >= self._save_cost_s:
            self.checkpoint()

    def _count(self, metrics: EpochMetrics) -> None:
        counters = self.counters
        counters.epoch = metrics.epoch
        if metrics.test_top1_err < counters.best_test_top1_err:
            counters.best_test_top1_err = metrics.test_top1_err
            counters.best_epoch = metrics.epoch
        watched = metrics.val_in_train_err
        if watched is not None and watched < counters.stopping_best:
            counters.stopping_best, counters.stopping_wait = watched, 0
        else:
            counters.stopping_wait += 1

    def checkpoint(self) -> None:
        """Write the state of the last whole epoch, unless it is written already.

        Only valid at an epoch's end: between epochs the weights are those of ``done_epochs``.
        """
        if self._saved_epoch == self.counters.epoch:
            return
        start = time.perf_counter()
        payload = dump(self.lane.model, self.lane.optimizer, self.counters.to_json())
        save_checkpoint(self.folder, payload)
        self._saved_epoch, self._saved_at = self.counters.epoch, time.monotonic()
        self._save_cost_s = time.perf_counter() - start
