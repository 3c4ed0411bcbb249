"""``resbench status``: the runs of a results folder and how far they are."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import format_option, results_to_read_option


@click.command("status")
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@results_to_read_option()
@format_option("rich", "markdown", "json", default="rich")
def command(suites: tuple[str, ...], results: Path, format_: str) -> None:
    """Show the runs of a results folder and how far they are.

    Without SUITE: of every shipped suite, with the runs that belong to none. What was refused is
    always listed.
    """
    from resbench.analysis.results import read_results
    from resbench.report.render import RENDERERS
    from resbench.report.status import status_page
    from resbench.suite.catalog import load_suites, suite_names

    named = load_suites(suites or suite_names())
    page = status_page(named, read_results(results), whole=not suites)
    click.echo(RENDERERS[format_](page), nl=False)
