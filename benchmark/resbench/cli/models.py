"""``resbench models``: the networks, their sizes against the published ones."""

from __future__ import annotations

import click

from resbench.cli.options import format_option, show


@click.command("models")
@format_option(rows=True)
def command(format_: str | None) -> None:
    """Compare the sizes of the networks with the published ones.

    Shows Table 5 of the 2019 report with each row as built, then every network of all sources,
    and where each choice in its design comes from.
    """
    from resbench.analysis.judge import judge
    from resbench.analysis.tables import empty
    from resbench.report.models_page import models_document
    from resbench.suite.load import load_suite

    show(models_document(judge(empty(load_suite("table5_architecture")))), format_)
