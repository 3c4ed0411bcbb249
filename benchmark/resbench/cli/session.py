"""A session with its display, its mirror and its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resbench.runner.devices import Device
from resbench.runner.plan import PlannedRun
from resbench.runner.progress import Progress
from resbench.runner.session import Listener, Session, Settings, Summary
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

    def stopping(self) -> None:
        return None


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
    patience_s = 0.0  # a second signal ends everything at once; `resbench sync` makes it good
    try:
        with Progress(len(runs), len(devices), throughput) as progress:
            progress.expect(list(runs), devices[0])
            listeners: list[Listener] = [progress]
            if mirror is not None:
                listeners.append(_Mirror(mirror))
            summary = Session(runs, settings, throughput, listeners).run()
            # A new mirror takes seconds to make, and a first run may be shorter than that.
            patience_s = (30.0 if deadline is None else 5.0) + 0.5 * len(runs)
            return summary
    finally:
        if mirror is not None:
            closed = mirror.close(patience_s)
            for warning in closed.warnings:
                click.echo(f"warning: {warning}", err=True)
            for address in closed.addresses:
                click.echo(f"MLflow: {address}", err=True)
