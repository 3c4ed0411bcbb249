"""Numbers per epoch: ``metrics.jsonl`` and ``timing.jsonl``.

They are apart so that an interrupted and an unbroken run have byte-identical metrics. Damage other
than a torn last line is an EnvironmentFault.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from resbench.errors import EnvironmentFault
from resbench.store.atomic import append_line, read_file, whole_lines, write_atomic
from resbench.suite.spec import Frozen, NonNegative, PositiveInt, plain_to

Percent = Annotated[float, Meta(ge=0, le=100)]


class EpochRow(Frozen):
    """One line a finished epoch, from 1 without gaps; checked when it is written and read."""

    epoch: PositiveInt


class EpochMetrics(EpochRow):
    """One line of ``metrics.jsonl``: what a repetition of the run gives again, bit by bit."""

    step: PositiveInt
    """Optimizer steps since the start."""
    lr: NonNegative
    train_loss: float
    train_top1_err: Percent
    """Under augmentation, over the epoch."""
    test_loss: float
    test_top1_err: Percent
    val_in_train_loss: float | None = None
    val_in_train_err: Percent | None = None
    train_err_clean: Percent | None = None
    """``train_top1_err`` over images whose label is the true one; None without label noise."""
    train_err_corrupted: Percent | None = None
    """Over images with a wrong label, against that label: low where the network memorises it."""


class EpochTiming(EpochRow):
    """One line of ``timing.jsonl``; durations in seconds of a monotonic clock."""

    duration_s: NonNegative
    images_per_s: NonNegative
    eval_s: NonNegative
    packed: PositiveInt = 1
    """How many runs shared the device in one step."""


Row = TypeVar("Row", bound=EpochRow)


def append_epoch(path: Path, row: EpochRow) -> None:
    """Append the next epoch, durably; ValueError where the row is not valid or not the next."""
    rows = read_epochs(path, type(row))
    if row.epoch != len(rows) + 1:
        raise ValueError(f"{path}: epoch {row.epoch} cannot follow epoch {len(rows)}")
    fields = msgspec.to_builtins(plain_to(type(row), msgspec.to_builtins(row)))
    append_line(path, {name: value for name, value in fields.items() if value is not None})


def read_epochs(path: Path, kind: type[Row]) -> list[Row]:
    """Return the rows of ``path``, none where it is missing; a torn last line is dropped."""
    rows: list[Row] = []
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            row = msgspec.json.decode(line, type=kind)
            if row.epoch != number:
                raise ValueError(f"epoch {row.epoch} where {number} was due")
        except ValueError as error:
            raise EnvironmentFault(
                f"{path}:{number}: damaged ({first_error(error)}). Only a last line without its "
                f"end is dropped silently; restore the file, or remove {path.parent} to train this "
                "run again."
            ) from error
        rows.append(row)
    return rows


def rewind(path: Path, epoch: int) -> None:
    """Drop all after the line of ``epoch``, before training resumes from its checkpoint."""
    lines = whole_lines(path)
    if len(lines) < epoch:
        raise EnvironmentFault(
            f"{path}: {len(lines)} epochs, but the checkpoint is of epoch {epoch}. "
            f"Lines were lost; remove {path.parent} to train this run again."
        )
    kept = b"".join(line + b"\n" for line in lines[:epoch])
    if kept != (read_file(path) or b""):
        write_atomic(path, kept)


def first_error(error: Exception) -> str:
    """Return an error of msgspec, the first that it met, as ``field: what is wrong``."""
    what, _, place = str(error).partition(" - at `$.")
    return f"{place.rstrip('`')}: {what}" if place else what
