"""A session with its display, its mirror and its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resbench.runner.devices import Device
from resbench.runner.plan import PlannedRun
from resbench.runner.progress import Progress
from resbench.runner.session import Session, Settings, Summary
from resbench.runner.throughput import Throughput

if TYPE_CHECKING:
    from resbench.tracking.client import MirrorClient


class _Mirror:
    """Passes what happens on to the mirror process."""

    def __init__(self, client: MirrorClient) -> None:
        self.client = client

    def began(self, run: PlannedRun, device: str, pid: int) -> None:
        cells = [{"suite": place.suite, "cell": place.cell} for place in run.places]
        self.client.send({
            "event": "begin", "key": run.key, "cells": cells, "pid": pid,
            "spec": run.spec.canonical(), "context": run.stored_context(),
        })  # fmt: skip

    def event(self, run: PlannedRun, event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            self.client.send({**event, "key": run.key})

    def ended(self, run: PlannedRun, outcome: str, text: str) -> None:
        self.client.send({"event": "end", "key": run.key, "outcome": outcome})


def work(
    runs: Sequence[PlannedRun],
    results: Path,
    devices: Sequence[Device],
    throughput: Throughput,
    *,
    deadline: float | None,
    timeout_s: float | None,
    options: dict[str, Any],
) -> Summary:
    """Work through ``runs`` with the options of ``resbench run``."""
    devices = devices[: len(runs)]
    settings = Settings(
        results=results,
        devices=devices,
        threads=options["threads"],
        deadline=deadline,
        timeout_s=timeout_s,
        pack=options["pack"],
        accept_environment=options["accept_environment"],
    )
    mirror: MirrorClient | None = None
    if not options["no_mirror"]:
        from resbench.tracking.client import MirrorClient

        mirror = MirrorClient(options["tracking_uri"], results)
        mirror.start()
    try:
        with Progress(len(runs), len(devices), throughput) as progress:
            progress.expect(list(runs), devices[0].name)
            listeners = [progress] if mirror is None else [progress, _Mirror(mirror)]
            return Session(runs, settings, throughput, listeners).run()
    finally:
        if mirror is not None:
            summary = mirror.close(timeout_s=5.0 + 0.5 * len(runs))
            for warning in summary.warnings:
                click.echo(f"warning: {warning}", err=True)
