"""Complete, valid runs with made predictions: every one passes all checks of the store.

``plant`` and its kin make runs of a suite's cells, for tables and reports. ``unfinished``,
``complete`` and ``completed`` make small runs that only a seed tells apart, as a worker leaves
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

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
    Signals,
    StageSignals,
    Timing,
    write_record,
    write_spec,
)
from resbench.suite.expand import DataChoice, Expanded, expand
from resbench.suite.load import load_suite, load_tier
from resbench.suite.schedule import resolve
from resbench.suite.spec import RunSpec, key_of

from . import mini

IMAGES = 1000
JPEG = DataChoice("cifar10", "cifar10-jpeg75", f"sha256:{'7' * 64}")


def suite_under(name: str, **changes: Any) -> Expanded:
    """A suite under its own context with changes: ``tier``, ``scale``, ``data``, ``overrides``."""
    from resbench.analysis.declared import declared  # the store's tests start without it

    expanded = declared(load_suite(name))
    data = {**expanded.context.data, **changes.pop("data", {})}
    context = replace(expanded.context, **changes, data=data)
    return expand(expanded.loaded, context, load_tier(context.tier))


def stored_context(expanded: Expanded, spec: RunSpec) -> dict[str, Any]:
    """The context as the runner stores it."""
    context, choice = expanded.context, expanded.context.data[spec.data.name]
    return {
        "tier": context.tier,
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


def finish_all(
    results: Path, expanded: Expanded, cells: Mapping[str, Sequence[float]], **options: Any
) -> list[RunRecord]:
    """Finished runs of several cells, an error for each seed from 1 on."""
    return [
        finish(results, expanded, cell, seed, error, **options)
        for cell, errors in cells.items()
        for seed, error in enumerate(errors, 1)
    ]


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
    labels: Sequence[tuple[float, float]] | None = None,
    **facts: Mapping[str, Any],
) -> RunRecord:
    """A finished run with these errors by epoch, in percent.

    ``images`` seeds which of the test images are wrong (by default, the run's seed); ``labels`` are
    training errors on true and on corrupted labels; ``facts`` are changes to the parts of the
    record, for example ``data={"fingerprint": ...}``.
    """
    run = begin(results, expanded, cell, seed)
    spec = expanded.cell(cell).at_seed(seed)
    predictions = made_predictions(test[-1], seed if images is None else images)
    error, loss = error_from_predictions(predictions)
    errors, trained = [*test[:-1], error], train or [max(0.0, value - 2) for value in test]
    checked = val if spec.training.val_in_train else None
    apart: Sequence[tuple[float | None, float | None]] = labels or [(None, None)] * len(errors)
    per_epoch = resolve(spec).per_epoch
    for epoch, (tested, seen, on) in enumerate(zip(errors, trained, apart, strict=True), 1):
        row = EpochMetrics(
            epoch=epoch,
            step=epoch * per_epoch,
            lr=0.1,
            train_loss=0.05,
            train_top1_err=seen,
            test_loss=loss,
            test_top1_err=tested,
            val_in_train_loss=None if checked is None else 0.1,
            val_in_train_err=checked,
            train_err_clean=on[0],
            train_err_corrupted=on[1],
        )
        append_epoch(run.metrics, row)
        timing = EpochTiming(epoch=epoch, duration_s=60, images_per_s=900, eval_s=1)
        append_epoch(run.timing, timing)
    write_predictions(run.predictions, predictions)
    result = Result(
        epoch=len(errors),
        step=len(errors) * per_epoch,
        test_top1_err=error,
        test_loss=loss,
        train_top1_err=trained[-1],
        train_loss=0.05,
        val_in_train_err=checked,
        best_test_top1_err=min(errors),
        best_epoch=errors.index(min(errors)) + 1,
    )
    return write_record(run, altered(_record(expanded, spec, cell, result), **facts))


def diverge(results: Path, expanded: Expanded, cell: str, seed: int) -> RunRecord:
    """A run that stopped at a loss that is no number."""
    run = begin(results, expanded, cell, seed)
    spec = expanded.cell(cell).at_seed(seed)
    nothing: dict[str, Any] = dict.fromkeys(Result.__struct_fields__)
    result = Result(**(nothing | {"epoch": 0, "step": 0}))
    reason = "the loss is nan at step 7"
    return write_record(run, _record(expanded, spec, cell, result, reason))


def made_predictions(error: float, seed: int) -> Predictions:
    """Images in order of classes; the wrong ones are drawn by the seed."""
    label = (np.arange(IMAGES) % 10).astype(np.int16)
    wrong = np.random.default_rng(seed).permutation(IMAGES)[: round(IMAGES * error / 100)]
    pred, prob = label.copy(), np.full(IMAGES, 0.9, np.float32)
    pred[wrong], prob[wrong] = (label[wrong] + 1) % 10, 0.05
    return Predictions(pred, prob, label, np.arange(IMAGES, dtype=np.int32))


def _record(
    expanded: Expanded, spec: RunSpec, cell: str, result: Result, diverged: str | None = None
) -> RunRecord:
    choice, stored = expanded.context.data[spec.data.name], stored_context(expanded, spec)
    context = {**stored, "cells": [[expanded.loaded.suite.name, cell]]}
    record = made_record(spec.canonical(), context, result, images=IMAGES, reason=diverged)
    return altered(
        record,
        model={"parameters": 1_030_362, "macs": 122_800_000},
        data={
            "name": choice.name,
            "label": choice.label,
            "id": choice.id,
            "published": choice.published,
            "fingerprint": "ab" * 32,
            "train_images": 50_000,
        },
        environment={"device": "cuda:0", "device_name": "a GPU", "cuda": "13.0"},
        code={"commit": "c0ffee" * 6, "dirty": False},
        timing={"train_s": 1200.0, "eval_s": 60.0, "total_s": 1260.0, "images_per_s": 900.0},
    )


def made_record(
    spec: dict[str, Any],
    context: dict[str, Any],
    result: Result,
    *,
    images: int,
    reason: str | None = None,
) -> RunRecord:
    """A record of ``result``; with a ``reason``, of a run that diverged."""
    return RunRecord(
        key=key_of(spec),
        spec=spec,
        context=context,
        status="diverged" if reason else "done",
        reason=reason,
        result=result,
        model=ModelFacts(parameters=119_000, macs=2_000_000),
        data=DataFacts(
            name="digits",
            label="digits",
            id="sha256:0",
            fingerprint="0",
            published=False,
            train_images=100,
            test_images=images,
            noise_hash=None,
            noise_transition=None,
        ),
        environment=Environment(
            python="3.11.7",
            torch="2.13.0",
            device="cpu",
            device_name="a CPU",
            cuda=None,
            threads=1,
            cpu="a CPU",
            os="Linux",
            engine_notes=(),
            cpu_model="x86_64",
            cpu_capability="AVX2",
            onednn_isa=None,
            cudnn=None,
            kernel_variables={},
        ),
        code=Code(version="0.1.0", commit=None, dirty=None, source_sha256="0" * 64),
        seeds={"order": 2**62 + 1},
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


def altered(record: RunRecord, **parts: Mapping[str, Any]) -> RunRecord:
    """The record with changes to its parts, for example ``data={"fingerprint": ...}``."""
    changed = {name: structs.replace(getattr(record, name), **u) for name, u in parts.items()}
    return structs.replace(record, **changed)


class Hostile:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.marker,)


# -- small runs -----------------------------------------------------------------------------------

EPOCHS, SMALL_IMAGES = 3, 40
SUITE, CELL = "table1_arl_vs_nal", "attention-56/arl"


def spec_of(seed: int = 0) -> dict[str, Any]:
    """A whole, valid specification."""
    drops = [{"at": 1.5, "factor": 0.1}]
    return mini.spec_of(
        seed=seed, data__name="cifar10", training__optim__lr=0.1,
        training__schedule__total=EPOCHS, training__schedule__drops=drops,
    ).canonical()  # fmt: skip


def context_of(cells: Sequence[tuple[str, str]] = ((SUITE, CELL),), label: str = "jpeg75"
               ) -> dict[str, Any]:  # fmt: skip
    return {
        "tier": "paper",
        "data": {"cifar10": {"name": "cifar10", "label": label, "id": "x"}},
        "overrides": [],
        "cells": [list(cell) for cell in cells],
    }


def folder_of(results: Path, seed: int = 0) -> RunFolder:
    return RunFolder(results, key_of(spec_of(seed)))


def predictions_of(seed: int, images: int = SMALL_IMAGES) -> Predictions:
    random = np.random.default_rng(seed)
    label = random.integers(0, 10, images).astype(np.int16)
    pred = np.where(random.random(images) < 0.2, (label + 1) % 10, label).astype(np.int16)
    return Predictions(
        pred, random.random(images).astype(np.float32), label, np.arange(images, dtype=np.int32)
    )


def metrics_of(seed: int, epoch: int, *, shift: float = 0.0) -> EpochMetrics:
    """The test numbers are those of :func:`predictions_of`."""
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


def work(
    run: RunFolder, seed: int, epoch: int, *, shift: float = 0.0, seconds: float = 1.5
) -> None:
    """What a worker stores at the end of an epoch, in its order."""
    timing = EpochTiming(epoch=epoch, duration_s=seconds, images_per_s=100.0, eval_s=0.1)
    append_epoch(run.timing, timing)
    append_epoch(run.metrics, metrics_of(seed, epoch, shift=shift))
    save_checkpoint(run, f"state of seed {seed} after epoch {epoch}".encode())


def record_of(run: RunFolder, seed: int, device_name: str = "a CPU", **context: Any) -> RunRecord:
    """The record of a small run, of the epochs that it has."""
    rows = read_epochs(run.metrics, EpochMetrics)
    last, best = rows[-1], min(rows, key=lambda row: row.test_top1_err)
    result = Result(
        epoch=last.epoch,
        step=last.step,
        test_top1_err=last.test_top1_err,
        test_loss=last.test_loss,
        train_top1_err=last.train_top1_err,
        train_loss=last.train_loss,
        val_in_train_err=None,
        best_test_top1_err=best.test_top1_err,
        best_epoch=best.epoch,
    )
    record = made_record(spec_of(seed), context_of(**context), result, images=SMALL_IMAGES)
    noise = {"noise_hash": "abc", "noise_transition": (0.9, 0.1, 0.1, 0.9)}
    record = altered(record, environment={"device_name": device_name}, data=noise)
    return structs.replace(record, key=run.key)


def loaded(run: RunFolder) -> tuple[bytes | None, list[str]]:
    """The checkpoint that a worker would resume from, and the warnings."""
    payloads: list[bytes] = []
    warnings = load_checkpoint(run, payloads.append)
    return (payloads[0] if payloads else None), warnings


def unfinished(
    results: Path, seed: int = 0, epochs: int = EPOCHS, *, shift: float = 0.0, **context: Any
) -> RunFolder:
    """A small run that stopped after some epochs."""
    results.mkdir(parents=True, exist_ok=True)
    run = folder_of(results, seed)
    write_spec(run, spec_of(seed), context_of(**context))
    for epoch in range(1, epochs + 1):
        work(run, seed, epoch, shift=shift)
    return run


def complete(
    run: RunFolder, seed: int = 0, *, device_name: str = "a CPU", **context: Any
) -> RunRecord:
    """Predictions, the record, and no more checkpoints."""
    write_predictions(run.predictions, predictions_of(seed))
    record = write_record(run, record_of(run, seed, device_name, **context))
    for path in (run.checkpoint, run.checkpoint_prev):
        path.unlink(missing_ok=True)
    return record


def completed(
    results: Path, seed: int = 0, *, shift: float = 0.0, weights: bytes | None = None
) -> RunFolder:
    """A small run with its record."""
    run = unfinished(results, seed, shift=shift)
    if weights is not None:
        run.weights.write_bytes(weights)
    complete(run, seed)
    return run


def with_signals(
    results: Path, cell: str, seed: int, value: float, gradient: float, *, diverged: bool = False
) -> None:
    """Plant a run of the mechanism suite that measured these sizes in its network."""
    last = StageSignals(trunk_rms=1.0, mask_mean=0.5, mask_std=0.1, product_rms=value)
    stages = {"stage9": structs.replace(last, product_rms=9 * value), "stage10": last}
    signals = Signals(stem_grad_norm=gradient, stages=stages)
    suite = suite_under("mechanism")
    made = (
        diverge(results, suite, cell, seed) if diverged else finish(results, suite, cell, seed, 80)
    )
    run = RunFolder(results, made.key)
    at_end = None if diverged else signals
    changed = structs.replace(made, signals_at_start=signals, signals_at_end=at_end)
    run.record.unlink()
    write_record(run, changed)
