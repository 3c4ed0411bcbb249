"""``resbench report``: the printed numbers beside ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resbench.cli.options import results_option
from resbench.errors import ExitCode

if TYPE_CHECKING:
    from resbench.report.collect import Results
    from resbench.report.judged import JudgedTable
    from resbench.suite.catalog import Loaded

SUFFIXES = {".md": "markdown", ".csv": "csv", ".json": "json"}


@click.command("report")
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@results_option
@click.option("--format", "format_", type=click.Choice(["rich", "markdown", "csv", "json"]),
              help="Default: rich on a terminal, else by the output's suffix, else markdown.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Write to this file, replacing it at once.")  # fmt: skip
@click.option("--ledger", is_flag=True, help="Add every setting with its origin.")
@click.option("--strict", is_flag=True, help="Exit 4 when a claim is not confirmed.")
def command(
    suites: tuple[str, ...],
    results: Path,
    format_: str | None,
    output: Path | None,
    ledger: bool,
    strict: bool,
) -> int:
    """Set the printed numbers beside ours, with uncertainty.

    Without SUITE: every shipped suite. A report reads files only and is right at any moment,
    however much has run.
    """
    from resbench.report.collect import fill, read_results
    from resbench.report.judged import judge
    from resbench.report.page import report_page
    from resbench.report.render import RENDERERS
    from resbench.suite.catalog import load_suite

    loaded = [load_suite(name) for name in dict.fromkeys(suites)]
    found = read_results(results)
    tables = [judge(t) for suite in loaded or shipped(found) for t in fill(suite, found)]
    text = RENDERERS[format_ or _default(output)](report_page(tables, found, ledger=ledger))
    if output is None:
        click.echo(text, nl=not text.endswith("\n"))
    else:
        from resbench.store.atomic import write_atomic

        write_atomic(output, text.encode())
    return _strict(tables) if strict else ExitCode.OK


def shipped(results: Results) -> list[Loaded]:
    """Return every shipped suite, smoke only where it was run."""
    from resbench.report.collect import fill
    from resbench.suite.catalog import load_suite, suite_names

    suites = [load_suite(name) for name in suite_names()]
    return [s for s in suites if s.suite.name != "smoke" or any(t.keys for t in fill(s, results))]


def _default(output: Path | None) -> str:
    if output is not None:
        return SUFFIXES.get(output.suffix, "markdown")
    return "rich" if sys.stdout.isatty() else "markdown"


def _strict(tables: list[JudgedTable]) -> int:
    """Name the claims that are not confirmed where the source's own conditions hold, else anywhere."""
    open_ = [
        f"{table.label}: {item.claim.id}: {item.verdict.text}"
        for table in decisive(tables)
        for item in table.claims
        if item.verdict.kind != "confirmed"
    ]
    for line in open_:
        click.echo(line, err=True)
    return ExitCode.NOT_REPRODUCED if open_ else ExitCode.OK


def decisive(tables: list[JudgedTable]) -> list[JudgedTable]:
    """Return the tables whose claims count: those on printed data at the paper's tier, else all."""
    own = {table.suite for table in tables if table.as_printed}
    return [table for table in tables if table.as_printed or table.suite not in own]
