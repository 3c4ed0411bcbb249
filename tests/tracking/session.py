"""What the runner tells a mirror."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resbench.tracking.client import MirrorClient

from . import factory


def begin_event(seed: int = 1, pid: int | None = None) -> dict[str, Any]:
    context = factory.context_of()
    cells = [{"suite": suite, "cell": cell} for suite, cell in context.pop("cells")]
    spec, key = factory.spec_of(seed), factory.folder_of(Path(), seed).key
    return {
        "event": "begin", "key": key, "cells": cells, "spec": spec, "context": context, "pid": pid,
    }  # fmt: skip


def end_event(outcome: str, seed: int = 1) -> dict[str, Any]:
    return {"event": "end", "key": factory.folder_of(Path(), seed).key, "outcome": outcome}


def started(results: Path, uri: str | None = None) -> MirrorClient:
    client = MirrorClient(uri, results)
    client.start()
    return client


def eventually(condition: Callable[[], object], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
