"""Plans of the mini suite for the runner's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resbench.data.sources import identify
from resbench.runner.plan import PlannedRun, plan
from resbench.suite.expand import Context, DataChoice, Expanded, expand
from resbench.suite.load import load_suite

from ..mini import suite_of, write_suite

DIGITS = identify("digits", {})
CHOICE = DataChoice("digits", DIGITS.label, DIGITS.id)


def expanded(folder: Path, suite: dict[str, Any] | None = None, **context: Any) -> Expanded:
    loaded = load_suite(str(write_suite(folder, suite)))
    fields = {"engine": "eager", "precision": "fp32"} | context
    return expand(loaded, Context(data={"digits": CHOICE}, **fields))


def planned(folder: Path, *suites: dict[str, Any], **context: Any) -> list[PlannedRun]:
    """The plan of ``suites``, by default of the mini suite at one seed: ``arl``, then ``nal``."""
    named = [expanded(folder, suite, **context) for suite in suites or [suite_of()]]
    return plan(named, {"digits": DIGITS})
