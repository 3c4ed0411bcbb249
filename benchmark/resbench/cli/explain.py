"""``resbench explain``: why a measured error differs from the published one."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import format_option, results_to_read_option, show


@click.command("explain")
@click.argument("suite", type=click.Path(), metavar="SUITE")
@click.argument("cell", metavar="CELL")
@results_to_read_option()
@format_option()
def command(suite: str, cell: str, results: Path, format_: str | None) -> None:
    """Say why a measured error differs from the published one, the largest reason first.

    CELL is a combination of the suite's levels, such as attention-56/arl, or ROW/COLUMN of its
    table. Explains the cell in every setting where it has runs, the one closest to the source
    first.
    """
    from resbench.analysis.explain import explain
    from resbench.analysis.results import read_results
    from resbench.report.explain_page import explain_document
    from resbench.suite.load import load_suite

    loaded = load_suite(suite)
    found = explain(loaded, cell, read_results(results))
    show(explain_document(loaded, cell, found), format_)
