"""``resbench plan``: what would run, how long it takes, and what it can decide."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from resbench.cli.options import format_option, planning_options, show


@click.command("plan")
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@planning_options
@format_option
def command(
    suites: tuple[str, ...],
    results: Path,
    budget: float | None,
    format_: str | None,
    **options: Any,
) -> None:
    """Show what would run, how long it takes, and what it can decide.

    Without SUITE: a line for every shipped suite. With --budget: what is done within that time.
    Trains and writes nothing, and needs no data set.
    """
    from resbench.cli.planning import missing_data, plan_request, planned_times
    from resbench.report.plan_page import plan_document
    from resbench.store.scan import scan
    from resbench.suite.load import suite_names

    expanded, runs, devices = plan_request(suites or suite_names(), **options)
    found = scan(results)
    for problem in found.problems:
        click.echo(f"warning: {problem}", err=True)
    document = plan_document(
        expanded,
        planned_times(runs, found, devices[0]),
        devices,
        missing_data(runs),
        _run_command(),
        budget,
        overview=not suites,
    )
    show(document, format_)


def _run_command() -> str:
    """Return the command line that runs this very plan."""
    words = sys.argv[1:]
    words[words.index("plan")] = "run"
    return re.sub(r" --format[ =]\w+", "", shlex.join(["resbench", *words]))
