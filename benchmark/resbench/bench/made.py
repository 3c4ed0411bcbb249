"""Made inputs as large as a user's: a suite of many cells, a results folder of many runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np

from resbench import __version__
from resbench.analysis.declared import declared
from resbench.data.sources import identify
from resbench.runner.plan import PlannedRun, plan
from resbench.store.layout import ResultsFolder, RunFolder
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
from resbench.suite.catalog import load_suite, suite_names

TEST_IMAGES = 10_000
AXES = {
    "first": "training.optim.lr",
    "second": "training.optim.weight_decay",
    "third": "model.width",
}


def made_suite(side: int) -> str:
    """Return a suite of ``side`` cubed cells, all of them different, as JSON, which is YAML."""
    levels = {f"l{i}": {"label": f"L{i}"} for i in range(side)}
    matrix = {
        axis: {
            name: {**level, "set": {key: 0.1 + i / 64}}
            for i, (name, level) in enumerate(levels.items())
        }
        for axis, key in AXES.items()
    }
    columns = {
        name: {"label": level["label"], "where": {"second": name, "third": name}}
        for name, level in levels.items()
    }
    suite = {
        "version": 1,
        "name": "many",
        "title": "A made suite of many cells",
        "sources": [{"key": "wang2017", "place": "nowhere"}],
        "protocol": "wang2017",
        "base": {"data": {"name": "cifar10"}, "model": {"name": "attention-56"}},
        "seeds": [1],
        "matrix": matrix,
        "table": {"rows": "first", "columns": columns},
    }  # fmt: skip
    return json.dumps(suite)


def made_results(path: Path, runs: int) -> None:
    """Write finished runs of all suites, seeds in rounds, through the store as a worker does."""
    ResultsFolder(path).open_for_writing()
    for number, run in enumerate(islice(planned(), runs)):
        _finish(path, run, number)


def planned() -> Iterator[PlannedRun]:
    """Yield different runs without end."""
    suites = [declared(load_suite(name)) for name in suite_names()]
    sources = {name: identify(name, {}) for name in ("cifar10", "cifar100", "digits")}
    for seed in count(1):
        yield from plan([replace(suite, seeds=(seed,)) for suite in suites], sources)


def _finish(results: Path, run: PlannedRun, number: int) -> None:
    folder = RunFolder(results, run.key)
    write_spec(folder, run.spec.canonical(), run.stored_context())
    predictions = _predictions(number)
    error, loss = error_from_predictions(predictions)
    val = (
        {"val_in_train_loss": 0.1, "val_in_train_err": 2.5}
        if run.spec.training.val_in_train
        else {}
    )
    numbers = {
        "train_loss": 0.05,
        "train_top1_err": 1.25,
        "test_loss": loss,
        "test_top1_err": error,
    }
    for epoch in (1, 2):
        timing = EpochTiming(epoch=epoch, duration_s=60, images_per_s=900, eval_s=1)
        append_epoch(folder.timing, timing)
        append_epoch(
            folder.metrics, EpochMetrics(epoch=epoch, step=epoch, lr=0.1, **numbers, **val)
        )
    write_predictions(folder.predictions, predictions)
    write_record(folder, _record(run, error, loss, val.get("val_in_train_err")))


def _predictions(number: int) -> Predictions:
    """Return predictions of which one in twenty is wrong, drawn by ``number``."""
    random = np.random.default_rng(number)
    label = (np.arange(TEST_IMAGES) % 10).astype(np.int16)
    wrong = random.random(TEST_IMAGES) < 0.05
    prob_true = np.where(wrong, 0.05, 0.9).astype(np.float32)
    return Predictions(np.where(wrong, (label + 1) % 10, label).astype(np.int16), prob_true, label)


def _record(run: PlannedRun, error: float, loss: float, val: float | None) -> RunRecord:
    return RunRecord(
        key=run.key,
        spec=run.spec.canonical(),
        context=run.stored_context(),
        status="done",
        reason=None,
        result=Result(
            epoch=2, step=2, test_top1_err=error, test_loss=loss, train_top1_err=1.25,
            train_loss=0.05, val_in_train_err=val, best_test_top1_err=error, best_epoch=1,
        ),
        model=ModelFacts(parameters=1_030_362, macs=122_800_000),
        data=DataFacts(
            name=run.source.name, label=run.source.label, id=run.source.id, fingerprint="0" * 64,
            printed=run.source.printed, train_images=50_000, test_images=TEST_IMAGES,
            noise_hash=None, noise_transition=None,
        ),
        environment=Environment(
            python="3.11", torch="2", device="cuda", device_name="made", cuda=None, threads=1,
            cpu="made", os="made", engine_notes=(),
        ),
        code=Code(version=__version__, commit=None, dirty=None, source_sha256="0" * 64),
        seeds={"order": 1},
        timing=Timing(
            started="2026-01-01T00:00:00+00:00", train_s=120.0, eval_s=2.0, total_s=122.0,
            images_per_s=900.0, resumed=0, pieces=1,
        ),
    )  # fmt: skip
