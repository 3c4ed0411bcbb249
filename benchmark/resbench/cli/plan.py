"""``resbench plan``: what would run, how long it takes, and what it can decide."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from resbench.cli.options import format_option, parse_budget, planning_options, show, this_command


@click.command("plan")
@click.argument("suites", nargs=-1, type=click.Path(), metavar="[SUITE]...")
@planning_options
@format_option()
def command(
    suites: tuple[str, ...], results: Path, budget: str | None, format_: str | None, **options: Any
) -> None:
    """Show what would run, how long it takes, and what it can decide.

    Without SUITE: a line for every shipped suite. With --budget: what is done within that time.
    Trains and writes nothing, and needs no data set.
    """
    from resbench.cli.planning import missing_data, plan_request, planned_times, warnings_of
    from resbench.report.plan_page import plan_document
    from resbench.store.scan import scan
    from resbench.suite.load import suite_names

    expanded, runs, devices = plan_request(suites or suite_names(), **options)
    found = scan(results)
    for text in warnings_of(runs, found):
        click.echo(f"warning: {text}", err=True)
    document = plan_document(
        expanded,
        planned_times(runs, found, devices[0]),
        devices,
        missing_data(run for run in runs if run.key not in found.records),
        shlex.join(["resbench", *this_command("run", "format_")]),
        None if budget is None else parse_budget(budget),
        overview=not suites,
        recorded=found.records.keys(),
    )
    show(document, format_)
