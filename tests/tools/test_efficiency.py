"""The measurement of the queue sees every run, and no more time than there was."""

from __future__ import annotations

import re

import pytest

from tools import efficiency


def test_shares_are_of_the_workers_whole_time(capfd: pytest.CaptureFixture[str]) -> None:
    efficiency.main(["--runs", "2", "--epochs", "1", "--workers", "1"])
    line = capfd.readouterr().out
    assert line.startswith("2 runs on 1 worker: ")
    in_runs, in_epochs = map(float, re.findall(r"0\.\d{3}", line))
    assert 0 < in_epochs < in_runs < 1
