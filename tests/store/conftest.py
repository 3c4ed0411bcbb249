from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk: no test here cuts the power; those in tests/faults sync for real."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
