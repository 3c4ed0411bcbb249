"""``resbench models``: the networks, counted beside the printed counts."""

from __future__ import annotations

import click

from resbench.cli.options import format_option


@click.command("models")
@format_option("rich", "markdown", "json", "csv", default="rich")
def command(format_: str) -> None:
    """Print the networks with their counts beside the printed ones.

    Table 5 of the report row by row as built, then every network of all sources, and where every
    choice in them comes from. Counting builds each network without memory and takes some seconds.
    """
    from resbench.analysis.tables import empty
    from resbench.report.networks import models_page
    from resbench.report.render import RENDERERS
    from resbench.suite.catalog import load_suite

    page = models_page(empty(load_suite("table5_architecture")))
    click.echo(RENDERERS[format_](page), nl=False)
