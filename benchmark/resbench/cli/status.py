"""``resbench status``: the runs of a results folder and their progress."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import format_option, results_to_read_option, show


@click.command("status")
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@results_to_read_option()
@format_option
def command(suites: tuple[str, ...], results: Path, format_: str | None) -> None:
    """Show the runs of a results folder and their progress.

    Without SUITE: every shipped suite, and the runs that belong to none. Refused runs are always
    listed.
    """
    from resbench.analysis.results import read_results
    from resbench.analysis.status import folder_status
    from resbench.report.status import status_document
    from resbench.suite.load import load_suites, suite_names

    named = load_suites(suites or suite_names())
    found = folder_status(named, read_results(results), whole=not suites)
    show(status_document(found), format_)
