"""Reasons to stop between two steps."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from resbench.process import STOP_SIGNALS
from resbench.protocol import AtStep, Event
from resbench.train.control import Control, Interrupted


def control_of(**fields: Any) -> tuple[Control, list[Event]]:
    events: list[Event] = []
    return Control(events.append, **fields), events


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_a_signal_stops_at_the_next_step_and_more_of_them_change_nothing(number: str) -> None:
    control, _ = control_of()
    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    try:
        control.install()
        control.check()
        signal.raise_signal(signal.Signals[number])
        with pytest.raises(Interrupted):
            control.check()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            control.check()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_work_that_would_end_after_the_deadline_does_not_begin() -> None:
    control, _ = control_of(deadline=time.monotonic() + 60)
    control.check(50)
    with pytest.raises(Interrupted):
        control.check(70)
    control.deadline = time.monotonic()
    with pytest.raises(Interrupted):
        control.check()


def test_progress_is_reported_now_and_then() -> None:
    control, events = control_of(heartbeat_s=60.0)
    for step in range(5):
        control.before_step(["k"], step, 5)
    assert events == [AtStep("k", 0, 5)]
    control.heartbeat_s = 0.0
    control.before_step(["k"], 4, 5)
    assert events[1:] == [AtStep("k", 4, 5)]
