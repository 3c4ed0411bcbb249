"""A session with its display and its export to MLflow."""

from __future__ import annotations

from collections.abc import Sequence

import click

from resbench.runner.plan import PlannedRun
from resbench.runner.progress import Progress
from resbench.runner.session import Session, Settings, Summary
from resbench.runner.throughput import Throughput
from resbench.tracking.follow import Follower


def work(
    runs: Sequence[PlannedRun], settings: Settings, throughput: Throughput, *, mirror: bool
) -> Summary:
    """Work through ``runs`` with the display, and with the export to MLflow if ``mirror``."""
    follower = Follower(settings.results) if mirror else None
    if follower is not None:
        follower.start()
    patience_s = 0.0  # a second signal ends everything at once; `resbench sync` makes it good
    try:
        with Progress(len(runs), len(settings.devices), throughput) as progress:
            progress.expect(list(runs), settings.devices[0])
            summary = Session(runs, settings, throughput, [progress]).run()
            # A new store takes seconds to make, and a first run may be shorter than that.
            patience_s = 30.0 if settings.deadline is None else 5.0
            return summary
    finally:
        if follower is not None and (warning := follower.close(patience_s)):
            click.echo(f"warning: {warning}", err=True)
