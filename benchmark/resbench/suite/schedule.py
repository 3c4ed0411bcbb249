"""A schedule as the source states it, in optimizer steps. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from resbench.errors import UsageError
from resbench.suite.spec import RunSpec


@dataclass(frozen=True)
class Steps:
    """A run in optimizer steps; an epoch has as many batches as the training set fills."""

    total: int
    per_epoch: int
    changes: tuple[tuple[int, float], ...]
    """(step, learning rate from that step on), in order, from step 0."""

    @property
    def epochs(self) -> int:
        """Number of epochs; the last may be shorter."""
        return -(-self.total // self.per_epoch)

    def in_epoch(self, epoch: int) -> range:
        """Return the steps of a 1-based epoch."""
        return range((epoch - 1) * self.per_epoch, min(epoch * self.per_epoch, self.total))

    def lr(self, step: int) -> float:
        """Return the learning rate in force at a 0-based step."""
        return next(lr for at, lr in reversed(self.changes) if at <= step)


def resolve(spec: RunSpec, train_images: int | None = None) -> Steps:
    """Resolve a run's schedule for ``train_images`` images, by default the published data set's.

    The incomplete last batch of an epoch is left out (a new permutation is drawn for the next), so
    160,000 iterations at batch 64 are 204.9 epochs of 781 batches, where the paper's own
    wrap-around gives 204.8.

    Raises:
        UsageError: when the training set is smaller than one batch.
    """
    training, schedule = spec.training, spec.training.schedule
    train_images = spec.data.train_size if train_images is None else train_images
    per_epoch = train_images // training.batch_size
    if per_epoch == 0:
        raise UsageError(
            f"batch_size {training.batch_size} is larger than the training set of {train_images} "
            "images. Lower training.batch_size or raise data.train_images."
        )
    per_unit = per_epoch if schedule.unit == "epoch" else 1
    lr = training.optim.lr
    changes = [(0, lr)]
    if schedule.warmup is not None:
        changes = [(0, schedule.warmup.lr), (round(schedule.warmup.until * per_unit), lr)]
    for drop in schedule.drops:
        lr *= drop.factor
        changes.append((round(drop.at * per_unit), lr))
    return Steps(max(1, round(schedule.total * per_unit)), per_epoch, tuple(changes))
