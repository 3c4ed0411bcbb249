"""The campaign of damaged inputs notices what must not be, and a slice of it finds nothing."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest

from tools import fuzz


def fails() -> None:
    raise ValueError("not caught")


def sleeps() -> None:
    time.sleep(60)


def computes() -> None:
    while True:
        pass


def fills_memory() -> None:
    bytearray(300 << 20)[:: 1 << 12] = b"x" * (300 << 8)


def ends_silently() -> None:
    sys.exit(2)


def ends_oddly() -> None:
    print("a word")
    sys.exit(77)


@pytest.mark.parametrize(
    ("action", "fault"),
    [
        (fails, "traceback"),
        (sleeps, "hang"),
        (computes, "hang"),
        (fills_memory, "MB of memory"),
        (ends_silently, "no word"),
        (ends_oddly, "exit code 77"),
    ],
)
def test_what_must_not_be_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: Callable[[], None], fault: str
) -> None:
    base = fuzz.execute(lambda: None, tmp_path)
    if action is sleeps:
        monkeypatch.setattr(fuzz, "LIMIT_S", 1)
    monkeypatch.setattr(fuzz, "LIMIT_CPU_S", 2)
    assert fuzz.judged(base, base.peak_bytes) is None
    assert fault in str(fuzz.judged(fuzz.execute(action, tmp_path), base.peak_bytes))


def test_another_number_is_noticed_and_a_missing_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def report(*errors: float) -> fuzz.Outcome:
        mean = fmean(errors) if errors else None
        value = {"cell": "a", "metric": "test_err", "mean": mean, "values": errors}
        runs = [{"key": str(i), "result": {"error": error}} for i, error in enumerate(errors)]
        tables = [{"suite": "s", "setting": "t", "values": [value], "cells": [{"runs": runs}]}]
        return fuzz.Outcome(0, json.dumps({"tables": tables}), "", 0)

    monkeypatch.setattr(fuzz.undamaged, "numbers", fuzz._numbers(report(31.5, 32.5).output))
    for sound in (report(31.5, 32.5), report(31.5), report()):
        assert fuzz.same_numbers(sound) is None
    for wrong in (report(31.4, 32.5), report(31.4, 32.6), report(31.4)):
        assert "another number" in str(fuzz.same_numbers(wrong))


def test_a_slice_of_the_campaign_finds_nothing(tmp_path: Path) -> None:
    faults = fuzz.campaign(tmp_path, inputs=len(fuzz.TARGETS), seed=1, keep=None)
    assert faults == {name: [] for name in fuzz.TARGETS}


@pytest.mark.slow
def test_what_is_not_damaged_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a target would only show that its first check works."""
    monkeypatch.setattr(fuzz, "mutate", lambda data, _: data)
    fuzz.campaign(tmp_path, inputs=0, seed=1, keep=None)
    for name, target in fuzz.TARGETS.items():
        if target is fuzz.results_folder:
            continue
        for number in range(20 if target is fuzz.setting else 2):
            folder = tmp_path / f"{name} {number}"
            folder.mkdir()
            action, check = target(folder, random.Random(number))
            outcome = fuzz.execute(action, folder)
            assert outcome.code == 0, outcome.error
            assert check(outcome) is None
