"""What the parent tells a worker, and what a worker says back: one JSON object a line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["done", "diverged", "oom", "failed", "timeout", "interrupted", "budget", "locked"]
"""How one attempt at a run ended. ``budget`` and ``interrupted`` can go on; ``locked`` is at work
elsewhere; ``done`` and ``diverged`` have a record."""


@dataclass(frozen=True)
class Job:
    """One attempt at one run. Times are of the monotonic clock, which all processes share."""

    key: str
    spec: dict[str, Any]
    context: dict[str, Any]
    source: dict[str, Any]
    """The data set as :class:`resbench.data.sources.Source` fields."""
    results: str
    device: str
    threads: int = 1
    deadline: float | None = None
    epoch_s: float | None = None
    """Expected seconds an epoch, where measured; decides whether the first epoch may start."""
    networks: str | None = None
    """The user's ``networks.py``, where the network is of its family."""
    accept_environment: bool = False
    """Resume in another environment, and mark the record."""
    keep_weights: bool = False
    """Store the final weights next to the record."""

    def line(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self), allow_nan=False)

    @staticmethod
    def parse(text: dict[str, Any]) -> Job:
        """Return the job that :meth:`line` wrote, parsed."""
        return Job(**text)
