"""A session with its display and its mirror."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

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
    runs: Sequence[PlannedRun], settings: Settings, throughput: Throughput, *, mirror: bool
) -> Summary:
    """Work through ``runs`` with the display, and with the export to MLflow if ``mirror``."""
    devices, deadline = settings.devices, settings.deadline
    client: MirrorClient | None = None
    if mirror:
        from resbench.tracking.client import MirrorClient

        client = MirrorClient(None, settings.results)
        client.start()
    patience_s = 0.0  # a second signal ends everything at once; `resbench sync` makes it good
    try:
        with Progress(len(runs), len(devices), throughput) as progress:
            progress.expect(list(runs), devices[0])
            listeners: list[Listener] = [progress]
            if client is not None:
                listeners.append(_Mirror(client))
            summary = Session(runs, settings, throughput, listeners).run()
            # A new mirror takes seconds to make, and a first run may be shorter than that.
            patience_s = (30.0 if deadline is None else 5.0) + 0.5 * len(runs)
            return summary
    finally:
        if client is not None:
            closed = client.close(patience_s)
            for warning in closed.warnings:
                click.echo(f"warning: {warning}", err=True)
            for address in closed.addresses:
                click.echo(f"MLflow: {address}", err=True)
