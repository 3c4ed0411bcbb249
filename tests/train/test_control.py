"""Reasons to stop between two steps."""

from __future__ import annotations

import signal

import pytest

from resbench.process import STOP_SIGNALS
from resbench.protocol import AtStep, Event
from resbench.train.control import Control, Interrupted


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_stops_at_the_next_step_and_more_of_them_change_nothing(
    number: signal.Signals,
) -> None:
    control = Control(print)
    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    try:
        control.install()
        control.check()
        for each in (number, signal.SIGTERM):
            signal.raise_signal(each)
            with pytest.raises(Interrupted):
                control.check()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_progress_is_reported_now_and_then() -> None:
    events: list[Event] = []
    control = Control(events.append, heartbeat_s=60.0)
    for step in range(5):
        control.before_step(["k"], 5, step)
    assert events == [AtStep("k", 0, 5)]
    control.heartbeat_s = 0.0
    control.before_step(["k"], 5, 4)
    assert events[1:] == [AtStep("k", 4, 5)]
