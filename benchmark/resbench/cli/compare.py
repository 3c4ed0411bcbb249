"""``resbench compare``: two sets of runs against each other."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import format_option, results_to_read_option
from resbench.errors import ExitCode


@click.command("compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@results_to_read_option()
@format_option("rich", "json", "markdown", default="rich")
def command(a: str, b: str, results: Path, format_: str) -> int:
    """Compare two results folders, run by run.

    A and B are folders, or tags of the runs in --results: tier=cpu, engine=graph,precision=bf16.
    Runs of one key must be identical, and no run be refused, else exit 1; other runs are compared
    cell by cell, paired by seed and test image.
    """
    from resbench.analysis.compare import compare, select
    from resbench.report.compare_page import compare_page
    from resbench.report.render import RENDERERS

    found = compare(select(a, results), select(b, results))
    click.echo(RENDERERS[format_](compare_page(found)), nl=False)
    wrong = found.disagreeing or found.a.problems or found.b.problems
    return ExitCode.RUNS_FAILED if wrong else ExitCode.OK
