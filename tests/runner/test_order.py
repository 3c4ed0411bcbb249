"""Which runs come next, with and without a budget."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resbench.runner import order
from resbench.runner.devices import Device
from resbench.runner.order import Queue, packable
from resbench.runner.plan import PlannedRun
from resbench.runner.throughput import Throughput, kind_of
from resbench.store.layout import ResultsFolder, RunFolder
from resbench.store.locks import wait_lock
from resbench.store.state import Status, write_state

from ..mini import REPORT, changed, spec_of, suite_of
from .planning import planned

CPU, GPU = Device("cpu", "CPU"), Device("cuda:0", "NVIDIA H100")


def queue_of(
    folder: Path,
    runs: list[PlannedRun],
    *,
    budget_s: float | None = None,
    pack: int = 1,
    images_per_s: float | None = None,
) -> Queue:
    throughput = Throughput()
    if images_per_s is not None:
        throughput.rates = {kind_of(run.spec, CPU.kind): (images_per_s, 0.0) for run in runs}
    deadline = None if budget_s is None else time.monotonic() + budget_s
    return Queue(runs, folder / "results", throughput, deadline=deadline, pack=pack)


def taken(queue: Queue, device: Device = CPU) -> list[tuple[str, int]]:
    """Cells and seeds in the order in which they are handed out, groups in a row."""
    order = []
    while group := queue.take(device):
        order += [(run.places[0].cell, run.spec.seed) for run in group]
    return order


ROUNDS = [("arl", 1), ("nal", 1), ("arl", 2), ("nal", 2)]


def test_without_a_budget_the_order_is_the_plans(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, planned(tmp_path, suite_of(seeds=(1, 2))))
    assert taken(queue) == ROUNDS
    assert queue.runs == []


def test_under_a_budget_n_grows_evenly_and_what_fills_most_comes_first(tmp_path: Path) -> None:
    twice = changed(suite_of("twice", seeds=(1, 2)), {"matrix.learning.arl.set": {}})
    twice["matrix"]["learning"]["arl"]["set"] = {"model.learning": "nal"}
    runs = planned(tmp_path, suite_of(seeds=(1, 2)), twice)
    queue = queue_of(tmp_path, runs, budget_s=1000, images_per_s=100)
    assert taken(queue) == [("nal", 1), ("arl", 1), ("nal", 2), ("arl", 2)]


def test_a_run_that_is_half_done_is_worth_more(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    results = ResultsFolder(tmp_path / "results")
    results.open_for_writing()
    nal = RunFolder(results.path, runs[1].key)
    nal.create()
    with wait_lock(nal.path):
        write_state(nal, Status.INTERRUPTED, epoch=3)
    assert taken(queue_of(tmp_path, runs, budget_s=1000, images_per_s=1)) == [
        ("nal", 1),
        ("arl", 1),
    ]


def test_what_cannot_end_an_epoch_in_time_is_not_begun(tmp_path: Path) -> None:
    long = suite_of("long")
    long["base"]["data"]["train_images"] = 640
    runs = planned(tmp_path, long, suite_of())
    queue = queue_of(tmp_path, runs, budget_s=60, images_per_s=10)
    assert taken(queue) == [("arl", 1), ("nal", 1)]
    assert [run.places[0].suite for run in queue.runs] == ["long", "long"]
    assert queue.shortest_epoch_s(CPU, queue.runs) == pytest.approx(64)
    assert taken(queue_of(tmp_path, runs, budget_s=0, images_per_s=10)) == []


def test_unknown_speed_is_tried_after_what_is_known(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    queue = queue_of(tmp_path, runs, budget_s=1000)
    queue.throughput.rates = {kind_of(runs[1].spec, CPU.kind): (1.0, 0.0)}
    assert taken(queue) == [("nal", 1), ("arl", 1)]


def test_seeds_of_one_network_are_packed_on_a_gpu_only(tmp_path: Path) -> None:
    suite = suite_of(seeds=(1, 2, 3))
    runs = planned(tmp_path, suite, engine="graph", precision="bf16")
    groups = []
    queue = queue_of(tmp_path, runs, pack=2)
    while group := queue.take(GPU):
        groups.append([(run.places[0].cell, run.spec.seed) for run in group])
    assert groups == [
        [("arl", 1), ("arl", 2)],
        [("nal", 1), ("nal", 2)],
        [("arl", 3)],
        [("nal", 3)],
    ]
    assert len(queue_of(tmp_path, runs, pack=2).take(CPU)) == 1
    eager = queue_of(tmp_path, planned(tmp_path, suite), pack=2)
    assert len(eager.take(GPU)) == 1


def test_levels_of_label_noise_can_be_packed_and_dropout_cannot(tmp_path: Path) -> None:
    noisy = suite_of()
    noisy["matrix"]["learning"]["nal"]["set"] = {"data.clean_ratio": 0.7}
    queue = queue_of(tmp_path, planned(tmp_path, noisy, engine="graph"), pack=4)
    assert len(queue.take(GPU)) == 2
    run = planned(tmp_path)[0]
    report = spec_of(**REPORT, engine="graph")
    assert not packable(PlannedRun(report.key, report, run.source, run.context, 0))


def test_each_kind_of_run_is_measured_once_and_only_under_a_budget(tmp_path: Path) -> None:
    runs = planned(tmp_path, suite_of(seeds=(1, 2)))
    assert queue_of(tmp_path, runs).take_unmeasured(CPU) is None
    queue = queue_of(tmp_path, runs, budget_s=1000)
    kinds: list[Any] = [queue.take_unmeasured(CPU) for _ in range(3)]
    assert kinds == [runs[0], runs[1], None]
    assert len(queue.runs) == 4, "what is measured stays"
    known = queue_of(tmp_path, runs, budget_s=1000, images_per_s=1)
    assert known.take_unmeasured(CPU) is None


def test_measuring_takes_no_more_than_its_share_of_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = queue_of(tmp_path, planned(tmp_path), budget_s=1000)
    assert queue.take_unmeasured(CPU) is not None
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 101)
    monkeypatch.setattr(order, "time", later)
    assert queue.take_unmeasured(CPU) is None


def test_runs_that_were_put_back_are_handed_out_again(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, planned(tmp_path))
    first = queue.take(CPU)
    queue.put_back(first)
    assert taken(queue) == [("nal", 1), ("arl", 1)]


def test_under_a_budget_a_run_that_was_put_back_comes_before_later_seeds(tmp_path: Path) -> None:
    runs = planned(tmp_path, suite_of(seeds=(1, 2)))
    queue = queue_of(tmp_path, runs, budget_s=1000, images_per_s=100)
    first = queue.take(CPU)
    queue.put_back(first)
    assert [run.spec.seed for run in queue.runs] == [1, 2, 2, 1]
    assert [seed for _, seed in taken(queue)] == [1, 1, 2, 2]
