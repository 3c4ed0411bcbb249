"""Finished runs with a planted course: errors by epoch, other facts, the cells they serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import structs

from resbench.store.metrics import EpochMetrics, EpochTiming, append_epoch
from resbench.store.predictions import error_from_predictions, write_predictions
from resbench.store.records import Result, RunRecord, write_record
from resbench.suite.expand import Expanded
from tests.report import records


def plant(
    results: Path,
    expanded: Expanded,
    cell: str,
    seed: int,
    *,
    test: Sequence[float],
    train: Sequence[float] | None = None,
    images: int | None = None,
    **facts: Mapping[str, Any],
) -> RunRecord:
    """Write a run with these errors by epoch, in percent.

    ``images`` seeds which of the test images are wrong (by default, the run's seed); ``facts`` are
    changes to the parts of the record, for example ``data={"fingerprint": ...}``.
    """
    run = records.begin(results, expanded, cell, seed)
    spec = expanded.cell(cell).at_seed(seed)
    predictions = records.made_predictions(test[-1], seed if images is None else images)
    error, loss = error_from_predictions(predictions)
    errors, trained = [*test[:-1], error], train or [max(0.0, value - 2) for value in test]
    for epoch, (tested, seen) in enumerate(zip(errors, trained, strict=True), 1):
        numbers = {"train_loss": 0.5, "train_top1_err": seen, "test_loss": loss}
        row = EpochMetrics(epoch=epoch, step=epoch, lr=0.1, test_top1_err=tested, **numbers)
        append_epoch(run.metrics, row)
        timing = EpochTiming(epoch=epoch, duration_s=60, images_per_s=900, eval_s=1)
        append_epoch(run.timing, timing)
    write_predictions(run.predictions, predictions)
    result = Result(
        epoch=len(errors),
        step=len(errors),
        test_top1_err=error,
        test_loss=loss,
        train_top1_err=trained[-1],
        train_loss=0.5,
        val_in_train_err=None,
        best_test_top1_err=min(errors),
        best_epoch=errors.index(min(errors)) + 1,
    )
    record = records._record(expanded, spec, result, "a GPU")
    places = {**record.context, "cells": [[expanded.loaded.suite.name, cell]]}
    changed = {name: structs.replace(getattr(record, name), **u) for name, u in facts.items()}
    return write_record(run, structs.replace(record, context=places, **changed))
