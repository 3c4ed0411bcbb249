"""``resbench explain``: why one cell differs from print."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import format_option, results_to_read_option


@click.command("explain")
@click.argument("suite", metavar="SUITE")
@click.argument("cell", metavar="CELL")
@results_to_read_option()
@format_option("text", "markdown", "json", default="text")
def command(suite: str, cell: str, results: Path, format_: str) -> None:
    """Say why one cell differs from print, what can explain most first.

    CELL is a combination of the suite's levels, such as attention-56/arl, or a place of its table,
    ROW/COLUMN. Every context with runs of the cell is explained, the closest to print first.
    """
    from resbench.analysis.results import read_results
    from resbench.report.explain import explain_page
    from resbench.report.render import RENDERERS
    from resbench.suite.catalog import load_suite

    page = explain_page(load_suite(suite), cell, read_results(results))
    click.echo(RENDERERS["rich" if format_ == "text" else format_](page), nl=False)
