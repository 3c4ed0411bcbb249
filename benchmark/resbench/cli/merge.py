"""``resbench merge``: take packed runs into a results folder."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import NamedPath, results_option
from resbench.errors import ExitCode


@click.command("merge")
@click.argument("archives", nargs=-1, required=True, type=NamedPath(path_type=Path),
                metavar="FILE.tar...")  # fmt: skip
@results_option
def command(archives: tuple[Path, ...], results: Path) -> int:
    """Take the runs of packed files into a results folder, each whole or not at all.

    A run that is here already stays; when the other one differs it is refused, with the reason.
    """
    from resbench.store.transfer import merge

    report = merge(results.absolute(), archives)
    for name, reason in report.refused:
        click.echo(f"refused {name}: {reason}", err=True)
    click.echo(
        f"{len(report.added)} added, {len(report.identical)} here already, "
        f"{len(report.refused)} refused",
        err=True,
    )
    return ExitCode.RUNS_FAILED if report.refused else ExitCode.OK
