"""Promises 1, 3, 4, 5, 9: kill -9 at any moment costs time, and not one bit of a result."""

from __future__ import annotations

import pickle
import random
import time
from pathlib import Path

import pytest

from resbench.store.envelope import open_sealed, seal
from resbench.train.checkpoint import read_meta

from ..factory import Hostile
from ..mini import outputs, started, state_of
from .running import (
    ARL,
    assert_ends_as,
    assert_left_in_order,
    copy_of,
    epochs_in,
    failing,
    kill_parent,
    nobody_at_work,
    prepare,
    ran_well,
    record_in,
    run_in,
    wait_for_epochs,
    workers_of,
)


def strike(folder: Path, rng: random.Random) -> bool:
    """Kill the command or its worker after 1 to 3 new epochs; say if it was in time."""
    victim = rng.choice(["worker", "parent"])
    with started(folder, *ARL) as process:
        wait_for_epochs(folder, process, len(epochs_in(run_in(folder))) + rng.randint(1, 3))
        time.sleep(rng.uniform(0, 0.3))
        workers = workers_of(process)
        if not workers:
            return False
        if victim == "parent":
            kill_parent(process)
        else:
            workers[0].kill()
            process.communicate()
    assert nobody_at_work(folder)
    return True


@pytest.mark.slow  # as make soak does more often
def test_a_run_killed_at_random_moments_ends_bit_for_bit_as_an_unbroken_one(
    unbroken: Path, tmp_path: Path
) -> None:
    """``make soak`` has more of it."""
    rng, struck = random.Random(1), 0
    prepare(tmp_path)
    while struck < 2 and strike(tmp_path, rng):
        struck += 1
    assert struck >= 1
    assert_ends_as(unbroken, tmp_path)
    assert record_in(tmp_path).timing.pieces > 1
    assert_left_in_order(tmp_path)


def test_a_killed_command_takes_its_worker_with_it_and_frees_the_run(killed: Path) -> None:
    """The worker's end is waited for where the command is killed."""
    assert nobody_at_work(killed)
    assert not run_in(killed).record.exists()
    assert epochs_in(run_in(killed)) == [1, 2]
    run = run_in(killed)
    assert state_of(run).epoch == read_meta(open_sealed(run.checkpoint.read_bytes()))["epoch"] > 0


def test_control_a_resumed_run_that_forgets_its_epoch_ends_differently(
    unbroken: Path, killed: Path, tmp_path: Path
) -> None:
    copy_of(killed, tmp_path)
    ran_well(tmp_path, *failing({"*": "forget"}, ARL))
    ours, theirs = outputs(tmp_path / "results"), outputs(unbroken / "results")
    different = {name.partition("/")[2] for name in ours if ours[name] != theirs[name]}
    assert different == {"metrics.jsonl", "predictions.npz"}


def test_damaged_and_hostile_checkpoints_are_set_aside_and_change_nothing(
    unbroken: Path, killed: Path, tmp_path: Path
) -> None:
    run = run_in(copy_of(killed, tmp_path))
    run.checkpoint_prev.write_bytes(run.checkpoint.read_bytes()[:-100])
    run.checkpoint.write_bytes(seal(pickle.dumps(Hostile(tmp_path / "executed"))))
    done = ran_well(tmp_path, *ARL)
    for path in (run.checkpoint, run.checkpoint_prev):
        assert f"warning: {path}: " in done.stderr
        assert path.with_name(f"{path.name}.corrupt").exists()
    assert not (tmp_path / "executed").exists()
    assert outputs(tmp_path / "results") == outputs(unbroken / "results")
