"""The training loop: epochs of one run, or of several packed runs of one architecture."""

from __future__ import annotations

import time

from resbench.store.state import Status
from resbench.train.attempt import Attempt
from resbench.train.control import Control, Interrupted
from resbench.train.engine import Engine, OnStep, make_engine
from resbench.train.lane import Diverged, EpochTotals
from resbench.train.recording import diverge, finish


def train(attempts: list[Attempt], control: Control) -> None:
    """Train every attempt to its end. All of them start at the same epoch.

    An attempt that ends early leaves the pack, and the rest continues without it. Weights, counters
    and random draws of an attempt never depend on the others.

    Raises:
        Interrupted: between two steps; every attempt can be resumed.
    """
    live, engine = list(attempts), None
    while live:
        epoch = live[0].done_epochs + 1
        try:
            control.check(live[0].expected_epoch_s)
        except Interrupted:
            for attempt in live:
                attempt.checkpoint()
            raise
        engine = _begin(live, engine, epoch)
        steps = live[0].lane.steps.in_epoch(epoch)
        start = time.perf_counter()
        try:
            engine.run_epoch(steps, _before_step(live, control))
        except Diverged as diverged:
            diverge(live[0], diverged)
            return
        ended = _end_epoch(live, epoch, steps, start)
        if ended:
            live = [attempt for attempt in live if attempt not in ended]
            engine = None


def _before_step(live: list[Attempt], control: Control) -> OnStep:
    keys, total = [attempt.key for attempt in live], live[0].lane.steps.total
    return lambda step: control.before_step(keys, step, total)


def _begin(live: list[Attempt], engine: Engine | None, epoch: int) -> Engine:
    for attempt in live:
        attempt.lane.begin_epoch(epoch)
    if engine is None:
        engine = make_engine([attempt.lane for attempt in live])
        for attempt in live:
            attempt.lane.begin_epoch(epoch)  # a captured warm-up has used the epoch's random state
    return engine


def _end_epoch(live: list[Attempt], epoch: int, steps: range, start: float) -> list[Attempt]:
    """Read totals, evaluate, write; return the attempts that have ended."""
    totals: list[EpochTotals | Diverged] = []
    for attempt in live:
        try:
            totals.append(attempt.lane.epoch_totals(steps))
        except Diverged as diverged:
            totals.append(diverged)
    duration_s = time.perf_counter() - start
    ended = []
    for attempt, total in zip(live, totals, strict=True):
        try:
            if isinstance(total, Diverged):
                raise total
            attempt.end_epoch(epoch, steps, total, duration_s=duration_s, packed=len(live))
            if attempt.finished:
                finish(attempt)
        except Diverged as diverged:
            diverge(attempt, diverged)
        if attempt.status is not Status.RUNNING:
            ended.append(attempt)
    for attempt in live:
        attempt.last_epoch_s = time.perf_counter() - start
    return ended
