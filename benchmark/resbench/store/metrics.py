"""Numbers per epoch: ``metrics.jsonl`` and ``timing.jsonl``.

They are apart so that an interrupted and an unbroken run have byte-identical metrics.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resbench.errors import EnvironmentFault
from resbench.store.atomic import append_line, read_file, whole_lines, write_atomic

Percent = Annotated[float, Field(ge=0, le=100)]
Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Stored(BaseModel):
    """Base of everything in a file: immutable, no coercion, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class EpochRow(Stored):
    """One line a finished epoch, from 1 without gaps."""

    epoch: Positive


class EpochMetrics(EpochRow):
    """One line of ``metrics.jsonl``: what a repetition of the run gives again, bit by bit."""

    step: Positive
    """Optimizer steps since the start."""
    lr: NonNegative
    train_loss: float
    train_top1_err: Percent
    """Under augmentation, over the epoch."""
    test_loss: float
    test_top1_err: Percent
    val_in_train_loss: float | None = None
    val_in_train_err: Percent | None = None


class EpochTiming(EpochRow):
    """One line of ``timing.jsonl``; durations in seconds of a monotonic clock."""

    duration_s: NonNegative
    images_per_s: NonNegative
    eval_s: NonNegative
    packed: Positive = 1
    """How many runs shared the device in one step."""


Row = TypeVar("Row", bound=EpochRow)


def append_epoch(path: Path, row: EpochRow) -> None:
    """Append the next epoch, durably.

    Raises:
        ValueError: the epoch does not follow the last one in the file.
        EnvironmentFault: the system refused, or the file is damaged; it keeps its whole lines.
    """
    rows = read_epochs(path, type(row))
    if row.epoch != len(rows) + 1:
        raise ValueError(f"{path}: epoch {row.epoch} cannot follow epoch {len(rows)}")
    append_line(path, row.model_dump(exclude_none=True))


def read_epochs(path: Path, kind: type[Row]) -> list[Row]:
    """Return the rows of ``path``, none where it is missing; a torn last line is dropped.

    Raises:
        EnvironmentFault: damage elsewhere, with file and line.
    """
    rows: list[Row] = []
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            row = kind.model_validate_json(line)
        except ValidationError as error:
            raise _damaged(path, number, first_error(error)) from error
        if row.epoch != number:
            raise _damaged(path, number, f"epoch {row.epoch} where {number} was due")
        rows.append(row)
    return rows


def rewind(path: Path, epoch: int) -> None:
    """Drop all after the line of ``epoch``, before training goes on from its checkpoint.

    Raises:
        EnvironmentFault: the lines up to ``epoch`` are not all there.
    """
    lines = whole_lines(path)
    if len(lines) < epoch:
        raise EnvironmentFault(
            f"{path}: {len(lines)} epochs, but the checkpoint is of epoch {epoch}. "
            f"Lines were lost; remove {path.parent} to train this run again."
        )
    kept = b"".join(line + b"\n" for line in lines[:epoch])
    if kept != (read_file(path) or b""):
        write_atomic(path, kept)


def first_error(error: ValidationError) -> str:
    """Return the first complaint of pydantic as ``field: what is wrong``."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def _damaged(path: Path, line: int, what: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{path}:{line}: damaged ({what}). Only a last line without its end is dropped silently; "
        f"restore the file, or remove {path.parent} to train this run again."
    )
