"""Complete, valid runs with made predictions: every one passes all checks of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from resbench.analysis.declared import declared
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, EpochTiming, append_epoch
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
from resbench.suite.expand import DataChoice, Expanded, expand
from resbench.suite.load import load_suite, load_tier
from resbench.suite.spec import RunSpec

IMAGES = 1000
JPEG = DataChoice("cifar10", "cifar10-jpeg75", f"sha256:{'7' * 64}")


def suite_under(name: str, **changes: Any) -> Expanded:
    """A suite under its own context with changes: ``tier``, ``scale``, ``data``, ``overrides``."""
    expanded = declared(load_suite(name))
    data = {**expanded.context.data, **changes.pop("data", {})}
    context = replace(expanded.context, **changes, data=data)
    return expand(expanded.loaded, context, load_tier(context.tier))


def stored_context(expanded: Expanded, spec: RunSpec) -> dict[str, Any]:
    """The context as the runner stores it."""
    context, choice = expanded.context, expanded.context.data[spec.data.name]
    return {
        "tier": context.tier,
        "scale": context.scale,
        "engine": context.engine,
        "precision": context.precision,
        "data": {choice.name: vars(choice)},
        "overrides": [list(pair) for pair in context.overrides],
    }


def begin(results: Path, expanded: Expanded, cell: str, seed: int) -> RunFolder:
    """A run that has its specification and nothing else."""
    spec = expanded.cell(cell).at_seed(seed)
    run = RunFolder(results, spec.key)
    results.mkdir(parents=True, exist_ok=True)
    write_spec(run, spec.canonical(), stored_context(expanded, spec))
    return run


def finish(
    results: Path,
    expanded: Expanded,
    cell: str,
    seed: int,
    error: float,
    *,
    best: float | None = None,
    train: float = 1.25,
    val: float = 2.5,
    device: str = "a GPU",
) -> RunRecord:
    """A finished run of two epochs, wrong on ``error`` percent of the images at its end."""
    environment = {"device_name": device}
    first = error if best is None else best
    return plant(
        results, expanded, cell, seed, test=[first, error], train=[train, train], val=val,
        environment=environment,
    )  # fmt: skip


def plant(
    results: Path,
    expanded: Expanded,
    cell: str,
    seed: int,
    *,
    test: Sequence[float],
    train: Sequence[float] | None = None,
    val: float = 2.5,
    images: int | None = None,
    **facts: Mapping[str, Any],
) -> RunRecord:
    """A finished run with these errors by epoch, in percent.

    ``images`` seeds which of the test images are wrong (by default, the run's seed); ``facts`` are
    changes to the parts of the record, for example ``data={"fingerprint": ...}``.
    """
    run = begin(results, expanded, cell, seed)
    spec = expanded.cell(cell).at_seed(seed)
    predictions = made_predictions(test[-1], seed if images is None else images)
    error, loss = error_from_predictions(predictions)
    errors, trained = [*test[:-1], error], train or [max(0.0, value - 2) for value in test]
    checked = val if spec.training.val_in_train else None
    for epoch, (tested, seen) in enumerate(zip(errors, trained, strict=True), 1):
        row = EpochMetrics(
            epoch=epoch,
            step=epoch,
            lr=0.1,
            train_loss=0.05,
            train_top1_err=seen,
            test_loss=loss,
            test_top1_err=tested,
            val_in_train_loss=None if checked is None else 0.1,
            val_in_train_err=checked,
        )
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
        train_loss=0.05,
        val_in_train_err=checked,
        best_test_top1_err=min(errors),
        best_epoch=errors.index(min(errors)) + 1,
    )
    record = _record(expanded, spec, cell, result)
    changed = {name: structs.replace(getattr(record, name), **u) for name, u in facts.items()}
    return write_record(run, structs.replace(record, **changed))


def diverge(results: Path, expanded: Expanded, cell: str, seed: int) -> RunRecord:
    """A run that stopped at a loss that is no number."""
    run = begin(results, expanded, cell, seed)
    spec = expanded.cell(cell).at_seed(seed)
    nothing: dict[str, Any] = dict.fromkeys(Result.__struct_fields__)
    result = Result(**(nothing | {"epoch": 0, "step": 7}))
    reason = "the loss is nan at step 7"
    return write_record(run, _record(expanded, spec, cell, result, reason))


def made_predictions(error: float, seed: int) -> Predictions:
    """Images in order of classes; the wrong ones are drawn by the seed."""
    label = (np.arange(IMAGES) % 10).astype(np.int16)
    wrong = np.random.default_rng(seed).permutation(IMAGES)[: round(IMAGES * error / 100)]
    pred, prob = label.copy(), np.full(IMAGES, 0.9, np.float32)
    pred[wrong], prob[wrong] = (label[wrong] + 1) % 10, 0.05
    return Predictions(pred, prob, label)


def _record(
    expanded: Expanded, spec: RunSpec, cell: str, result: Result, diverged: str | None = None
) -> RunRecord:
    choice, stored = expanded.context.data[spec.data.name], stored_context(expanded, spec)
    suite = expanded.loaded.suite.name
    return RunRecord(
        key=spec.key,
        spec=spec.canonical(),
        context={**stored, "cells": [[suite, cell]]},
        status="diverged" if diverged else "done",
        reason=diverged,
        result=result,
        model=ModelFacts(parameters=1_030_362, macs=122_800_000),
        data=DataFacts(
            name=choice.name,
            label=choice.label,
            id=choice.id,
            fingerprint="ab" * 32,
            published=choice.published,
            train_images=50_000,
            test_images=IMAGES,
            noise_hash=None,
            noise_transition=None,
        ),
        environment=Environment(
            python="3.11.7",
            torch="2.13.0",
            device="cuda:0",
            device_name="a GPU",
            cuda="13.0",
            threads=1,
            cpu="a CPU",
            os="Linux",
            engine_notes=(),
        ),
        code=Code(version="0.1.0", commit="c0ffee" * 6, dirty=False, source_sha256="0" * 64),
        seeds={"order": 1},
        timing=Timing(
            started="2026-01-01T00:00:00+00:00",
            train_s=1200.0,
            eval_s=60.0,
            total_s=1260.0,
            images_per_s=900.0,
            resumed=0,
            pieces=1,
        ),
    )
