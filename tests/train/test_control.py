"""Reasons to stop between two steps."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from resbench.train.control import Control, Interrupted, OutOfBudget


def control_of(**fields: Any) -> tuple[Control, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    return Control(events.append, **fields), events


def test_a_first_signal_stops_at_the_next_step_and_a_second_at_once() -> None:
    control, _ = control_of()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        control.install()
        control.check()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            control.check()
        with pytest.raises(SystemExit, match="130"):
            signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_work_that_would_end_after_the_deadline_does_not_begin() -> None:
    control, _ = control_of(deadline=time.monotonic() + 60)
    control.check(50)
    with pytest.raises(OutOfBudget):
        control.check(70)
    control.deadline = time.monotonic()
    with pytest.raises(OutOfBudget):
        control.check()


def test_a_signal_comes_before_the_budget() -> None:
    control, _ = control_of(deadline=time.monotonic(), stop=True)
    with pytest.raises(Interrupted):
        control.check()


def test_progress_is_told_now_and_then() -> None:
    control, events = control_of(heartbeat_s=60.0)
    for step in range(5):
        control.before_step(["k"], step, 5)
    assert events == [{"event": "step", "keys": ["k"], "step": 0, "steps": 5}]
    control.heartbeat_s = 0.0
    control.before_step(["k"], 4, 5)
    assert events[1:] == [{"event": "step", "keys": ["k"], "step": 4, "steps": 5}]
