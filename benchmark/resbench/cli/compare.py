"""``resbench compare``: two sets of runs against each other."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import format_option, results_to_read_option, show
from resbench.errors import ExitCode


@click.command("compare")
@click.argument("a", type=click.Path(), metavar="A")
@click.argument("b", type=click.Path(), metavar="B")
@results_to_read_option()
@format_option()
def command(a: str, b: str, results: Path, format_: str | None) -> int:
    """Compare two results folders, or two tiers of one, run by run.

    A and B are folders, or tiers of the runs in --results. Runs with the same key must be
    identical; the others are compared cell by cell. Exit 1 if runs of one key differ or a run is
    refused.
    """
    from resbench.analysis.compare import compare, select
    from resbench.report.compare_page import compare_document

    found = compare(select(a, results), select(b, results))
    show(compare_document(found), format_)
    return ExitCode.RUNS_FAILED if found.disagreeing or found.problems else ExitCode.OK
