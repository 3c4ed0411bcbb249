"""The plan, and which of its runs come next, with and without a budget."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from resbench.runner.devices import Device
from resbench.runner.plan import PlannedRun, Queue, packable
from resbench.runner.throughput import Speed, Throughput

from ..mini import REPORT, changed, spec_of, suite_of
from .planning import planned

CPU, GPU = Device("cpu", "CPU"), Device("cuda:0", "NVIDIA H100")


def test_one_run_serves_two_tables(tmp_path: Path) -> None:
    other = changed(suite_of("other"), {"matrix.learning.nal.set": {"model.mask": "local"}})
    runs = planned(tmp_path, suite_of(), other)
    assert len(runs) == 3
    assert runs[0].cells == [("mini", "arl"), ("other", "arl")]
    assert runs[0].label == "mini arl +1 seed 1"
    assert [run.label for run in runs[1:]] == ["mini nal seed 1", "other nal seed 1"]
    assert runs[0].stored_context()["cells"] == [["mini", "arl"], ["other", "arl"]]


def test_a_seed_is_run_for_every_cell_before_the_next(tmp_path: Path) -> None:
    two = suite_of(seeds=(3, 1)), suite_of("other", total=5, seeds=(7, 8, 9))
    runs = planned(tmp_path, *two)
    assert [run.seed_rank for run in runs] == [0] * 4 + [1] * 4 + [2] * 2
    assert [run.spec.seed for run in runs[:4]] == [3, 3, 7, 7]


def test_a_skipped_cell_is_not_planned(tmp_path: Path) -> None:
    skipped = {"skips": [{"where": {"learning": "nal"}, "reason": "no mask"}]}
    assert len(planned(tmp_path, suite_of() | skipped)) == 1


def queue_of(
    runs: list[PlannedRun], *, budget_s: float | None = None, pack: int = 1, measured: bool = True
) -> Queue:
    """The queue of runs that are known, if ``measured``, to train 10 images a second."""
    throughput = Throughput()
    for run in runs if measured else ():
        throughput.learn(run.spec, CPU, Speed(10.0, 0.0), 4)
    deadline = None if budget_s is None else time.monotonic() + budget_s
    return Queue(runs, throughput, deadline=deadline, pack=pack)


def taken(queue: Queue, device: Device = CPU) -> list[tuple[str, int]]:
    """Cells and seeds in the order in which they are handed out, groups in a row."""
    order = []
    while group := queue.take(device):
        order += [(run.cells[0][1], run.spec.seed) for run in group]
    return order


ROUNDS = [("arl", 1), ("nal", 1), ("arl", 2), ("nal", 2)]


@pytest.mark.parametrize("budget_s", [None, 1000.0])
def test_the_order_is_the_plans_so_that_n_grows_evenly(
    tmp_path: Path, budget_s: float | None
) -> None:
    queue = queue_of(planned(tmp_path, suite_of(seeds=(1, 2))), budget_s=budget_s)
    first = queue.take(CPU)
    queue.put_back(first[0])
    assert taken(queue) == ROUNDS, "what was put back is in its old place"
    assert queue.runs == []


def test_what_cannot_end_an_epoch_in_time_is_not_started(tmp_path: Path) -> None:
    long = suite_of("long")
    long["base"]["data"]["train_images"] = 640
    runs = planned(tmp_path, long, suite_of())
    queue = queue_of(runs, budget_s=60)
    assert taken(queue) == [("arl", 1), ("nal", 1)]
    assert [run.cells[0][0] for run in queue.runs] == ["long", "long"]
    assert taken(queue_of(runs, budget_s=0)) == []


def test_a_run_is_withdrawn_once_all_devices_have_refused_it(tmp_path: Path) -> None:
    first, second = planned(tmp_path)
    queue = queue_of([first, second])
    queue.refuse(first, CPU)
    assert queue.withdraw([CPU, GPU]) == []
    assert queue.withdraw([CPU]) == [first]
    assert queue.runs == [second]


def test_a_speed_that_is_a_guess_is_tried(tmp_path: Path) -> None:
    wide = suite_of()
    wide["base"]["model"]["width"], wide["base"]["data"]["train_images"] = 4.0, 640
    runs = planned(tmp_path, wide)
    queue = queue_of(runs, budget_s=3, measured=False)
    assert queue.throughput.epoch_seconds(runs[0].spec, CPU) > 3
    assert queue.throughput.measured_epoch_s(runs[0].spec, CPU) is None
    assert len(queue.take(CPU)) == 1


def test_seeds_of_one_network_are_packed_on_a_gpu_only(tmp_path: Path) -> None:
    suite = suite_of(seeds=(1, 2, 3))
    runs = planned(tmp_path, suite, engine="graph", precision="bf16")
    groups, queue = [], queue_of(runs, pack=2)
    while group := queue.take(GPU):
        groups.append([(run.cells[0][1], run.spec.seed) for run in group])
    pairs = [[("arl", 1), ("arl", 2)], [("nal", 1), ("nal", 2)]]
    assert groups == [*pairs, [("arl", 3)], [("nal", 3)]]
    eager, fp32 = planned(tmp_path, suite), planned(tmp_path, suite, engine="graph")
    for device, alone in ((CPU, runs), (GPU, eager), (GPU, fp32)):
        assert len(queue_of(alone, pack=2).take(device)) == 1


ONE_PACK = {"seed": 2, "data__clean_ratio": 0.7, "data__noise": "redrawn"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *ONE_PACK.items(),
        ("model__learning", "nal"),
        ("data__train_images", 48),
        ("data__test_images", 48),
        ("data__first", 128),
        ("data__image_px", 16),
        ("training__batch_size", 8),
        ("training__optim__lr", 0.1),
        ("training__schedule__total", 1),
        ("tier", "tiny"),
    ],
)
def test_only_seed_and_label_noise_may_differ_within_a_pack(
    tmp_path: Path, name: str, value: Any
) -> None:
    run, *_ = planned(tmp_path)
    fast = {"engine": "graph", "precision": "bf16"}
    specs = spec_of(**fast), spec_of(**fast, **{name: value})
    runs = [PlannedRun(spec.key, spec, run.source, run.context, 0) for spec in specs]
    assert runs[0].key != runs[1].key
    assert len(queue_of(runs, pack=2).take(GPU)) == (2 if name in ONE_PACK else 1)


def test_packs_that_memory_does_not_suffice_for_are_halved_and_others_are_not(
    tmp_path: Path,
) -> None:
    seeds = tuple(range(1, 21))
    runs = planned(tmp_path, suite_of(seeds=seeds), engine="graph", precision="bf16")
    queue, sizes = queue_of(runs, pack=15), []
    while group := queue.take(GPU):
        cell = group[0].cells[0][1]
        sizes.append((cell, len(group)))
        if cell == "arl" and len(group) > 3:
            for run in group:
                queue.put_back(run, at_most=len(group) // 2)
    arl = [size for cell, size in sizes if cell == "arl"]
    assert arl == [15, 7, *[3] * 6, 2]
    assert [size for cell, size in sizes if cell == "nal"] == [15, 5]


def test_a_larger_pack_that_another_gpu_gives_back_later_raises_no_limit(tmp_path: Path) -> None:
    runs = planned(tmp_path, suite_of(seeds=(1, 2, 3, 4)), engine="graph", precision="bf16")
    queue = queue_of(runs, pack=4)
    for at_most in (1, 2):
        queue.put_back(runs[0], at_most=at_most)
    assert len(queue.take(GPU)) == 1


def test_levels_of_label_noise_can_be_packed_and_dropout_cannot_even_if_a_user_may_hide_it(
    tmp_path: Path,
) -> None:
    noisy = suite_of()
    noisy["matrix"]["learning"]["nal"]["set"] = {"data.clean_ratio": 0.7}
    queue = queue_of(planned(tmp_path, noisy, engine="graph", precision="bf16"), pack=4)
    assert len(queue.take(GPU)) == 2
    run, *_ = planned(tmp_path, engine="graph", precision="bf16")
    report = spec_of(**REPORT, engine="graph", precision="bf16")
    assert not packable(PlannedRun(report.key, report, run.source, run.context, 0))
    assert packable(run)
    run.networks = tmp_path / "networks.py"
    assert not packable(run)
