"""The runner's parent over many runs whose workers only pretend; imports no torch, as it does.

A process of its own: ``python -m resbench.bench.parent 1000`` prints a JSON object.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from resbench.bench.made import planned
from resbench.runner import worker
from resbench.runner.devices import Device
from resbench.runner.plan import PlannedRun
from resbench.runner.session import Session, Settings
from resbench.runner.throughput import Throughput

PRETEND = (sys.executable, "-P", "-m", "resbench.bench.pretend")


class Memory:
    """Notes this process's resident memory when a tenth of the runs has ended, and at the end."""

    def __init__(self, runs: int) -> None:
        self.at = (max(1, runs // 10), runs)
        self.ended_runs = 0
        self.mb: list[float] = []

    def began(self, run: PlannedRun, device: str, pid: int) -> None:
        """Nothing to note."""

    def event(self, run: PlannedRun, event: dict[str, Any]) -> None:
        """Nothing to note."""

    def ended(self, run: PlannedRun, outcome: str, text: str) -> None:
        """Count an ended run."""
        self.ended_runs += 1
        if self.ended_runs in self.at:
            self.mb.append(psutil.Process().memory_info().rss / 1e6)

    def stopping(self) -> None:
        """Nothing to note."""


def main(count: int) -> None:
    """Work through ``count`` runs on two workers; print the memory's growth and the CPU time."""
    runs, memory = list(islice(planned(), count)), Memory(count)
    worker.COMMAND = PRETEND
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder), [Device("cpu", "CPU")] * 2)
        before = time.process_time()
        summary = Session(runs, settings, Throughput(), [memory]).run()
        cpu_s = time.process_time() - before
    assert summary.count("done") == count, summary.outcomes
    growth_mb = memory.mb[-1] - memory.mb[0]
    print(json.dumps({"growth_mb": growth_mb, "cpu_ms_a_run": 1e3 * cpu_s / count}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
