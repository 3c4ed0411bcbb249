"""``resbench sync``: rebuild the MLflow mirror from the results folder."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import results_to_read_option, tracking_option
from resbench.errors import ExitCode


@click.command("sync")
@results_to_read_option(needed=True)
@tracking_option
def command(results: Path, tracking_uri: str | None) -> int:
    """Make MLflow say what the files say, without duplicates.

    Fills in what could not be mirrored while it ran, and ends runs whose process has died. By
    default the mirror is DIR/mlflow.db; MLFLOW_TRACKING_URI or --tracking-uri name another store.
    A mirror holds absolute paths: after moving DIR, remove mlflow.db and mlartifacts first.
    Exit 1 when a run could not be mirrored.
    """
    from resbench.tracking.sync import sync

    report = sync(results, tracking_uri)
    for problem in report.problems:
        click.echo(problem, err=True)
    counts = {
        "written": report.written,
        "unchanged": report.unchanged,
        "running now": report.running,
        "ended that had died": report.ended,
        "not mirrored": len(report.problems),
    }
    shown = [f"{n} {what}" for what, n in counts.items() if n or what in ("written", "unchanged")]
    click.echo(f"{report.store}: {', '.join(shown)}.")
    return ExitCode.RUNS_FAILED if report.problems else ExitCode.OK
