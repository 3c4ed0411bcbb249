"""The hours of all tables follow from the suites and the rates alone."""

from __future__ import annotations

import pytest
import torch

from resbench.bench import tables
from resbench.bench.contest import Bench
from resbench.bench.tables import SEEDS, cifar_runs, estimate
from resbench.data.catalog import train_images
from resbench.runner.throughput import kind_of
from resbench.suite.schedule import resolve
from resbench.suite.spec import RunSpec


def test_every_cifar_run_is_there_once_a_seed() -> None:
    runs = cifar_runs()
    assert {run.spec.data.name for run in runs} == {"cifar10", "cifar100"}
    by_seed = [sum(run.spec.seed == seed for run in runs) for seed in SEEDS]
    assert by_seed == [len(runs) / len(SEEDS)] * len(SEEDS)
    assert len({run.key for run in runs}) == len(runs)


def test_hours_are_images_over_rates_and_each_kind_is_measured_once() -> None:
    asked: list[str] = []

    def rates(spec: RunSpec) -> tuple[float, float]:
        asked.append(kind_of(spec, "here"))
        return 1000.0, 1e12

    runs = cifar_runs()
    hours, kinds = estimate(runs, rates)

    def images(spec: RunSpec) -> int:
        return resolve(spec, train_images(spec.data)).total * spec.training.batch_size

    assert hours == pytest.approx(sum(images(run.spec) for run in runs) / 1000 / 3600)
    assert len(asked) == len(set(asked)) == kinds


def test_evaluation_is_part_of_the_estimate() -> None:
    runs = cifar_runs()[:3]
    without, _ = estimate(runs, lambda _: (1000.0, 1e12))
    with_, _ = estimate(runs, lambda _: (1000.0, 1000.0))
    assert with_ == pytest.approx(without * 1.2, rel=0.05)


def test_on_a_gpu_the_runs_are_those_that_run_makes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunSpec] = []

    def calibrate(spec: RunSpec, *_: object) -> tuple[float, float]:
        asked.append(spec)
        return 1000.0, 1000.0

    monkeypatch.setattr(tables, "calibrate", calibrate)
    tables.every_table(Bench(torch.device("cuda:0")))
    assert {(spec.engine, spec.precision) for spec in asked} == {("graph", "bf16")}
    asked.clear()
    tables.every_table(Bench(torch.device("cpu")))
    assert {(spec.engine, spec.precision) for spec in asked} == {("eager", "fp32")}
