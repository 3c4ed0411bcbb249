"""The training loop: epochs of one run, or of several packed runs of one architecture."""

from __future__ import annotations

import time

from resbench.store.state import Status
from resbench.train.control import Control, Interrupted
from resbench.train.engine import Engine, OnStep, make_engine
from resbench.train.lane import Diverged, EpochTotals
from resbench.train.track import Track


def train(tracks: list[Track], control: Control) -> None:
    """Train every track to its end. All of them start at the same epoch.

    A track that ends early leaves the pack, and the rest continues without it. Weights, counters
    and random draws of a track never depend on the others.

    Raises:
        Interrupted: between two steps; every track can be resumed.
    """
    live, engine = list(tracks), None
    while live:
        epoch = live[0].done_epochs + 1
        try:
            control.check(live[0].expected_epoch_s)
        except Interrupted:
            for track in live:
                track.checkpoint()
            raise
        engine = _begin(live, engine, epoch)
        steps = live[0].lane.steps.in_epoch(epoch)
        start = time.perf_counter()
        try:
            engine.run_epoch(steps, _before_step(live, control))
        except Diverged as diverged:
            live[0].diverge(diverged)
            return
        ended = _end_epoch(live, epoch, steps, start)
        if ended:
            live = [track for track in live if track not in ended]
            engine = None


def _before_step(live: list[Track], control: Control) -> OnStep:
    keys, total = [track.key for track in live], live[0].lane.steps.total
    return lambda step: control.before_step(keys, step, total)


def _begin(live: list[Track], engine: Engine | None, epoch: int) -> Engine:
    for track in live:
        track.lane.begin_epoch(epoch)
    if engine is None:
        engine = make_engine([track.lane for track in live])
        for track in live:
            track.lane.begin_epoch(epoch)  # a captured warm-up has used the epoch's random state
    return engine


def _end_epoch(live: list[Track], epoch: int, steps: range, start: float) -> list[Track]:
    """Read totals, evaluate, write; return the tracks that have ended."""
    totals: list[EpochTotals | Diverged] = []
    for track in live:
        try:
            totals.append(track.lane.epoch_totals(steps))
        except Diverged as diverged:
            totals.append(diverged)
    duration_s = time.perf_counter() - start
    ended = []
    for track, total in zip(live, totals, strict=True):
        try:
            if isinstance(total, Diverged):
                raise total
            track.end_epoch(epoch, steps, total, duration_s=duration_s, packed=len(live))
            if track.finished:
                track.finish()
        except Diverged as diverged:
            track.diverge(diverged)
        if track.status is not Status.RUNNING:
            ended.append(track)
    for track in live:
        track.last_epoch_s = time.perf_counter() - start
    return ended
