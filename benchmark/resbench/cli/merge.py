"""``resbench merge``: add packed runs to a results folder."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from resbench.cli.options import NamedPath, results_option
from resbench.errors import ExitCode


@click.command("merge")
@click.argument("places", nargs=-1, required=True, type=NamedPath(), metavar="FILE.tar...")
@results_option
def command(places: tuple[str, ...], results: Path) -> int:
    """Add the runs of packed files to a results folder, each completely or not at all.

    FILE.tar is a path or a URL (s3://bucket/runs.tar, https://host/runs.tar).
    A run that the folder already has is kept; a run with the same key but other numbers is refused,
    with the reason. Exit 1 if a run is refused.
    """
    from resbench.store.transfer import local_file, merge

    with ExitStack() as stack:
        archives = [stack.enter_context(local_file(place, read=True)) for place in places]
        report = merge(results.absolute(), archives)
    for name, reason in report.refused:
        click.echo(f"refused {name}: {reason}", err=True)
    click.echo(
        f"{len(report.added)} added, {len(report.identical)} already here, "
        f"{len(report.refused)} refused",
        err=True,
    )
    return ExitCode.RUNS_FAILED if report.refused else ExitCode.OK
