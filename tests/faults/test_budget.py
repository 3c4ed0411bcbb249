"""Promise 27: when the time is up every run is stopped, and the same command resumes."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from resbench.machine import cpu_name
from resbench.store.layout import RunFolder, open_for_writing
from resbench.store.predictions import write_predictions
from resbench.store.records import write_record, write_spec
from resbench.store.state import Status

from .. import factory
from ..mini import PATIENCE_S, run_folders, state_of
from .running import (
    ARL,
    assert_ends_as,
    assert_left_in_order,
    epochs_in,
    failing,
    prepare,
    ran_well,
    record_in,
    run_in,
    spec,
)


def test_a_budget_stops_a_run_that_the_same_command_resumes_to_the_same_bits(
    unbroken: Path, tmp_path: Path
) -> None:
    run = run_in(prepare(tmp_path))
    dawdling, budget_s = failing({spec().key: "dawdle"}, ARL), 6
    while not epochs_in(run):  # starting up takes its time on a busy machine
        assert budget_s < PATIENCE_S
        done = ran_well(tmp_path, *dawdling, "--budget", f"{budget_s}s")
        assert "Left: mini arl seed 1. Run the same command to resume." in done.stderr
        budget_s *= 2
    assert state_of(run).status is Status.INTERRUPTED
    assert_left_in_order(tmp_path)
    assert_ends_as(unbroken, tmp_path, *ARL, "--budget", "1h")
    assert record_in(tmp_path).timing.pieces > 1


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
    done = ran_well(tmp_path, *ARL, "--budget", "25s")
    said = "too short to start any of these runs and train one epoch; the shortest epoch takes"
    assert f"{said} about 32 s." in done.stderr
    assert len(run_folders(results)) == 1
