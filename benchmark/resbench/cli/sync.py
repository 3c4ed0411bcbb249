"""``resbench sync``: bring MLflow up to date with the results folder."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import results_to_read_option
from resbench.errors import ExitCode


@click.command("sync")
@results_to_read_option(needed=True)
def command(results: Path) -> int:
    """Bring MLflow up to date with the results folder.

    Writes only what has changed, exports what `resbench run` could not, and marks as ended the
    runs whose process has died. A run is listed under the suites that it was trained for; in each,
    the MLflow run named `report` holds the suite's report as a page. The store is DIR/mlflow.db, or
    the one that MLFLOW_TRACKING_URI names. The store holds absolute paths: after moving DIR, remove
    mlflow.db and mlartifacts first. Exit 1 if a run or a report could not be exported.
    """
    from resbench.tracking.export import Exporter

    exporter = Exporter(results, page=lambda suite: _page(suite, results))
    done = exporter.export()
    for problem in done.problems:
        click.echo(problem, err=True)
    counts = {
        "written": done.written,
        "unchanged": done.unchanged,
        "running now": done.running,
        "not exported": len(done.problems),
    }
    shown = [f"{n} {what}" for what, n in counts.items() if n or what in ("written", "unchanged")]
    click.echo(f"{exporter.mirror.shown}: {', '.join(shown)}.")
    return ExitCode.RUNS_FAILED if done.problems else ExitCode.OK


def _page(suite: str, results: Path) -> str:
    from resbench.analysis.judge import report
    from resbench.analysis.results import read_results
    from resbench.report.render import render
    from resbench.report.report_page import report_document
    from resbench.report.site import draw

    found = report((suite,), read_results(results))
    return render(report_document(found, draw(found, claims=False)), "html")
