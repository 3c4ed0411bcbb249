"""Runs as `resbench run` leaves them, made without training, and MLflow's tables read directly."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec import structs

from resbench.store.layout import ResultsFolder, RunFolder
from resbench.store.metrics import EpochTiming, append_epoch
from resbench.store.predictions import write_predictions
from resbench.store.records import RunRecord, write_record, write_spec
from resbench.store.state import Status, write_state
from resbench.suite.spec import RunSpec, plain_to

from ..store import factory as stored

EPOCHS = 3
SUITE, CELL = "table1_arl_vs_nal", "attention-56/arl"
CELLS = ((SUITE, CELL),)
NAME = f"s1 {CELL}"
"""Of seed 1 in MLflow."""


def spec_of(seed: int = 1) -> dict[str, Any]:
    """A whole, valid specification."""
    spec: dict[str, Any] = {
        "model": {
            "family": "wang2017",
            "name": "attention-56",
            "learning": "arl",
            "mask": "encoder-decoder",
            "activation": "mixed",
            "width": 0.25,
        },
        "data": {
            "name": "cifar10",
            "id": f"sha256:{'5' * 64}",
            "image_px": 16,
            "first": None,
            "train_images": 640,
            "test_images": None,
            "clean_ratio": 1.0,
            "noise": "fixed",
        },
        "training": {
            "batch_size": 64,
            "augment": {
                "kind": "crop_flip",
                "pad_px": 2,
                "flip": True,
                "rotation_deg": 0.0,
                "shift": 0.0,
                "zoom": 0.0,
            },
            "normalise": "mean_image",
            "init": "he",
            "bn_eps": 1e-5,
            "bn_momentum": 0.1,
            "optim": {
                "name": "sgd",
                "lr": 0.1,
                "momentum": 0.9,
                "nesterov": True,
                "weight_decay": 1e-4,
                "decay": "all",
            },
            "schedule": {
                "unit": "epoch",
                "total": EPOCHS,
                "drops": [{"at": 1.5, "factor": 0.1}],
                "warmup": None,
            },
            "early_stopping": None,
            "val_in_train": 0,
        },
        "tier": "paper",
        "scale": 1.0,
        "engine": "eager",
        "precision": "fp32",
        "seed": seed,
    }
    return plain_to(RunSpec, spec).canonical()


def context_of(cells: tuple[tuple[str, str], ...] = CELLS, label: str = "jpeg75") -> dict[str, Any]:
    return {
        "tier": "paper",
        "data": {"cifar10": {"name": "cifar10", "label": label, "id": "x"}},
        "overrides": [],
        "cells": [list(cell) for cell in cells],
    }


def folder_of(results: Path, seed: int = 1) -> RunFolder:
    return RunFolder(results, plain_to(RunSpec, spec_of(seed)).key)


def train(run: RunFolder, seed: int, first: int, last: int, *, seconds: float = 1.5) -> None:
    """Append epochs as a worker does; ``seconds`` is what every attempt measures anew."""
    for epoch in range(first, last + 1):
        timing = EpochTiming(epoch=epoch, duration_s=seconds, images_per_s=99.5, eval_s=0.25)
        append_epoch(run.timing, timing)
        append_epoch(run.metrics, stored.metrics_of(seed, epoch))


def begin(
    results: Path,
    seed: int = 1,
    epochs: int = EPOCHS,
    status: Status = Status.INTERRUPTED,
    **context: Any,
) -> RunFolder:
    """A run that stopped after some epochs."""
    ResultsFolder(results).open_for_writing()
    run = folder_of(results, seed)
    write_spec(run, spec_of(seed), context_of(**context))
    train(run, seed, 1, epochs)
    write_state(run, status, epoch=epochs)
    run.log.write_text("epoch 1\n")
    return run


def finish(run: RunFolder, seed: int = 1, **context: Any) -> RunRecord:
    """Commit a run."""
    write_predictions(run.predictions, stored.predictions_of(seed))
    record = stored.record_of(run, seed)
    fields = {"key": folder_of(run.results, seed).key, "spec": spec_of(seed)}
    return write_record(run, structs.replace(record, context=context_of(**context), **fields))


def finished(results: Path, seed: int = 1, **context: Any) -> RunFolder:
    """A committed run."""
    run = begin(results, seed, **context)
    finish(run, seed, **context)
    return run


def eventually(condition: Callable[[], object], within_s: float = 120.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Tables:
    """What a store's database holds."""

    def __init__(self, database: Path) -> None:
        self.database = database

    def query(self, text: str, *values: Any) -> list[Any]:
        """Rows of a SELECT."""
        with closing(sqlite3.connect(self.database)) as opened:
            return opened.execute(text, values).fetchall()

    def runs(self) -> list[tuple[str, str, str]]:
        """Experiment, name and status of each run that was not deleted."""
        return self.query(
            "SELECT e.name, r.name, r.status FROM runs r JOIN experiments e USING (experiment_id) "
            "WHERE r.lifecycle_stage = 'active' ORDER BY 1, 2"
        )

    def points(self, where: str = "1") -> list[tuple[str, int, float]]:
        """Name, step and value of every point of the runs that were not deleted."""
        return self.query(
            "SELECT key, step, value FROM metrics JOIN runs USING (run_uuid) "
            f"WHERE lifecycle_stage = 'active' AND {where} ORDER BY 1, 2"
        )

    def tags(self, name: str) -> list[str]:
        """Values of one tag in all runs that were not deleted."""
        rows = self.query(
            "SELECT value FROM tags JOIN runs USING (run_uuid) "
            "WHERE lifecycle_stage = 'active' AND key = ?",
            name,
        )
        return [value for (value,) in rows]
