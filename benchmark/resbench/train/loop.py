"""The training loop: epochs of one run, or of several packed runs of one architecture."""

from __future__ import annotations

import time
from functools import partial

from resbench.train.attempt import Attempt
from resbench.train.control import Control, Interrupted
from resbench.train.engine import make_engine
from resbench.train.lane import Diverged
from resbench.train.recording import finish


def train(attempts: list[Attempt], control: Control) -> None:
    """Train every attempt to its end. All of them start at the same epoch.

    An attempt that ends early leaves the pack, and the rest continues without it. Weights, counters
    and random draws of an attempt never depend on the others.

    Raises:
        Interrupted: between two steps; every attempt can be resumed.
    """
    live, engine = list(attempts), None
    expected_s = live[0].job.epoch_s or 0.0
    while live:
        try:
            control.check(expected_s)
        except Interrupted:
            for attempt in live:
                attempt.checkpoint()
            raise
        keys, total = [attempt.key for attempt in live], live[0].lane.steps.total
        engine = engine or make_engine([attempt.lane for attempt in live])
        start = time.perf_counter()
        try:
            engine.run_epoch(live[0].counters.epoch + 1, partial(control.before_step, keys, total))
            ended = _end_epoch(live, start)
        except Diverged as diverged:  # within the epoch: on a CPU, where a run is alone
            ended = [(live[0], diverged)]
        expected_s = time.perf_counter() - start  # with the evaluation of every run
        if ended:
            # A record's measurements need the memory of another step: free the graphs first.
            engine = None
            for attempt in live:
                attempt.lane.release_graphs()
            for attempt, why in ended:
                finish(attempt, why)
            live = [attempt for attempt in live if attempt.end is None]


def _end_epoch(live: list[Attempt], start: float) -> list[tuple[Attempt, Diverged | None]]:
    """Evaluate and write; return the attempts that have ended, and what diverged."""
    live[0].lane.loss_sum.item()  # waits for a GPU, where one graph has the steps of all
    duration_s = time.perf_counter() - start
    ended: list[tuple[Attempt, Diverged | None]] = []
    for attempt in live:
        try:
            attempt.end_epoch(duration_s=duration_s, packed=len(live))
            if attempt.finished:
                ended.append((attempt, None))
        except Diverged as diverged:
            ended.append((attempt, diverged))
    return ended
