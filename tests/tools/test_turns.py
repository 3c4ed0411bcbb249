"""Contenders take turns, and ratios come from rounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.speed.turns import Contender, Spread, Timed, take_turns


def test_contenders_alternate_and_the_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    contenders = [Contender(name, 10, partial(calls.append, name)) for name in "ab"]

    timed = take_turns(contenders, 3)

    assert "".join(calls) == "ba" + "ab" + "ba" + "ab"
    assert [t.name for t in timed] == ["a", "b"]
    assert all(len(t.wall) == len(t.cpu) == 3 for t in timed)


def test_the_device_is_waited_for_before_each_look_at_the_clock() -> None:
    calls: list[str] = []
    contender = Contender("a", 1, lambda: calls.append("work"))

    take_turns([contender], 1, lambda: calls.append("wait"), warm_up=False)

    assert calls == ["wait", "work", "wait"]


def test_settings_hold_for_one_contender_only() -> None:
    state = {"flag": False}
    seen: dict[str, bool] = {}

    @contextmanager
    def on() -> Iterator[None]:
        state["flag"] = True
        yield
        state["flag"] = False

    take_turns(
        [
            Contender("with", 1, lambda: seen.__setitem__("with", state["flag"]), on),
            Contender("without", 1, lambda: seen.__setitem__("without", state["flag"])),
        ],
        2,
    )

    assert seen == {"with": True, "without": False}


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=9), st.floats(0.1, 10))
def test_a_constant_ratio_survives_rounds_of_any_speed(speeds: list[float], factor: float) -> None:
    ours = Timed("ours", tuple(factor * s for s in speeds), tuple(speeds))
    peer = Timed("peer", tuple(speeds), tuple(speeds))

    for value in vars(ours.over(peer)).values():
        assert value == pytest.approx(factor)
    assert ours.over_by_cpu_time(peer) == Spread(1, 1, 1)


def test_a_spread_is_median_and_range() -> None:
    assert Spread.of([3, 1, 10]) == Spread(median=3, low=1, high=10)
