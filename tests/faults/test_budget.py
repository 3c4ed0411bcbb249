"""Promise 27: when the time is up every run is stopped, and the same command resumes."""

from __future__ import annotations

import random
from pathlib import Path

from msgspec.structs import replace

from resbench.machine import cpu_name
from resbench.store.layout import RunFolder, open_for_writing
from resbench.store.predictions import write_predictions
from resbench.store.records import RunRecord, write_record, write_spec
from resbench.store.state import Status, read_state

from .. import factory
from ..mini import outputs, run_folders
from .running import (
    ARL,
    EPOCHS,
    RUN,
    nobody_at_work,
    prepare,
    ran,
    record_in,
    run_in,
    spec,
    temporaries,
)

SEEDS = tuple(range(1, 13))
CELLS = ("arl", "nal")


def seeds_done(folder: Path, learning: str) -> list[int]:
    return [seed for seed in SEEDS if run_in(folder, learning, seed).record.exists()]


def records(folder: Path) -> list[RunRecord]:
    return [record_in(folder, cell, seed) for cell in CELLS for seed in seeds_done(folder, cell)]


def spend(folder: Path, budget_s: int) -> None:
    """Run under a budget, and see that every run was stopped in order."""
    done = ran(folder, *RUN, "--jobs", "1", "--budget", f"{budget_s}s")
    assert done.returncode == 0, done.stderr
    assert "Run the same command to resume." in done.stderr
    n = [seeds_done(folder, cell) for cell in CELLS]
    for seeds in n:
        assert seeds == list(SEEDS[: len(seeds)])
    assert abs(len(n[0]) - len(n[1])) <= 1, "n grows evenly"
    for cell in CELLS:
        for seed in SEEDS:
            run = run_in(folder, cell, seed)
            if run.path.exists() and not run.record.exists():
                state = read_state(run)
                assert state is not None
                assert state.status is Status.INTERRUPTED
    assert nobody_at_work(folder)
    assert temporaries(folder) == []


def test_budgets_stop_runs_that_resume_and_n_grows_evenly(unbroken: Path, tmp_path: Path) -> None:
    """Budgets of random lengths are spent until a run has ended that was stopped before."""
    folder, rng, shortest_s = prepare(tmp_path, SEEDS), random.Random(1), 5
    theirs, ours = outputs(unbroken / "results"), dict[str, bytes]()
    while (
        all(record.timing.pieces == 1 for record in records(folder))
        or not ours.keys() >= theirs.keys()
    ):
        assert shortest_s < 200
        before = len(records(folder))
        spend(folder, shortest_s + rng.randint(0, 3))
        if len(records(folder)) == before:
            shortest_s += shortest_s // 2  # starting up takes its time on a busy machine
        ours = outputs(folder / "results")
    assert {name: ours[name] for name in theirs} == theirs
    for record in records(folder):
        assert record.result.epoch == EPOCHS


def test_a_budget_shorter_than_an_epoch_says_so_and_starts_nothing(tmp_path: Path) -> None:
    """As the record of another seed shows."""
    results = prepare(tmp_path) / "results"
    open_for_writing(results)
    slow = spec(seed=99)
    run = RunFolder(results, slow.key)
    write_spec(run, slow.canonical(), {})
    for epoch in (1, 2):
        factory.work(run, 0, epoch)
    write_predictions(run.predictions, factory.predictions_of(0))
    record = factory.record_of(run, 0, cpu_name())
    timing = replace(record.timing, images_per_s=1.0, eval_s=0.0)
    write_record(run, replace(record, spec=slow.canonical(), timing=timing))
    done = ran(tmp_path, *ARL, "--budget", "50s")
    assert done.returncode == 0, done.stderr
    said = "too short to start and to train one epoch of any of these runs; the shortest takes"
    assert f"{said} about 64 s." in done.stderr
    assert len(run_folders(results)) == 1
