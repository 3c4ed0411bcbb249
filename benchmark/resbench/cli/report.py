"""``resbench report``: the printed numbers beside ours."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resbench.cli.options import NamedPath, results_to_read_option
from resbench.errors import ExitCode, UsageError
from resbench.words import count

if TYPE_CHECKING:
    from resbench.analysis.judge import JudgedTable

SUFFIXES = {".md": "markdown", ".csv": "csv", ".json": "json"}
"""Formats by the suffix of a file; .txt and none may be any."""


@click.command("report")
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@results_to_read_option()
@click.option(
    "--format",
    "format_",
    type=click.Choice(["rich", "markdown", "csv", "json"]),
    help="Default: by the suffix of --output, rich on a terminal, else markdown.",
)
@click.option(
    "--output",
    type=NamedPath(path_type=Path),
    metavar="FILE",
    help="Write to this file; it is replaced at once.",
)
@click.option("--ledger", is_flag=True, help="Add every setting with its origin.")
@click.option(
    "--site",
    type=NamedPath(path_type=Path),
    metavar="DIR",
    help="Write a page for every suite, figures and a replication report to this folder instead. "
    "Only files that an earlier --site wrote are replaced or removed.",
)
@click.option(
    "--readme",
    type=NamedPath(path_type=Path),
    metavar="FILE",
    help="With --site: put the claims between the marks results:begin and results:end of this file "
    "too. Without it nothing outside DIR is touched.",
)
@click.option("--strict", is_flag=True, help="Exit 4 when a claim is not confirmed.")
def command(
    suites: tuple[str, ...],
    results: Path,
    format_: str | None,
    output: Path | None,
    ledger: bool,
    site: Path | None,
    readme: Path | None,
    strict: bool,
) -> int:
    """Set the printed numbers beside ours, with uncertainty.

    Without SUITE: every shipped suite. A report reads files only and is right at any moment,
    however much has run.
    """
    if site is not None:
        return _site(suites, results, site, readme, format_ or output or ledger or strict)
    if readme is not None:
        raise UsageError(f"--readme {readme}: is for --site DIR. Give both.")
    from resbench.analysis.judge import judge
    from resbench.analysis.results import read_results
    from resbench.analysis.tables import chosen, finished
    from resbench.report.page import report_page
    from resbench.report.render import RENDERERS

    format_ = _format(format_, output)
    found = read_results(results)
    tables = [
        judge(t) for suite in chosen(suites, found) for t in finished(suite, found, begun=True)
    ]
    page = report_page(tables, found, ledger=ledger)
    text = RENDERERS[format_](page)
    if output is None:
        click.echo(text, nl=False)
    else:
        from resbench.cli.output import write_output

        write_output(output, text.encode())
    return _strict(tables) if strict else ExitCode.OK


def _site(
    suites: Sequence[str], results: Path, folder: Path, readme: Path | None, others: object
) -> int:
    from resbench.report.site import write_site

    if others:
        raise UsageError("--site: has one form. Give only suites, --results and --readme with it.")
    changed = write_site(suites, results, folder, readme)
    where = f"{folder} and {readme}" if readme in changed else folder
    click.echo(f"{count(len(changed), 'file')} changed in {where}", err=True)
    return ExitCode.OK


def _format(given: str | None, output: Path | None) -> str:
    """Return the format, which the suffix of a file must not belie."""
    if output is None:
        return given or ("rich" if sys.stdout.isatty() else "markdown")
    known = SUFFIXES.get(output.suffix)
    if known is None and output.suffix not in ("", ".txt"):
        raise UsageError(f"--output {output}: no format ends so. Use .md, .csv, .json or .txt.")
    if given and known and given != known:
        raise UsageError(
            f"--output {output}: its suffix means {known}, and --format {given} was given. Leave "
            "--format out, or rename the file."
        )
    return given or known or "markdown"


def _strict(tables: list[JudgedTable]) -> int:
    """Name the claims that are not confirmed; return the exit code.

    Where a suite was run as its source declares it, on the printed data, only that table counts.
    """
    from resbench.analysis.names import context_label

    own = {table.suite for table in tables if table.as_printed}
    code = ExitCode.OK
    for table in tables:
        if table.suite in own and not table.as_printed:
            continue
        place = f"{table.suite}, {context_label(table.table.expanded.context)}"
        for item in table.claims:
            if item.verdict.kind != "confirmed":
                click.echo(f"{place}: {item.claim.id}: {item.verdict.text}", err=True)
                code = ExitCode.NOT_REPRODUCED
    return code
