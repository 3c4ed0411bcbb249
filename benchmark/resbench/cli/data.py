"""``resbench data``: list and fetch data sets."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import NamedPath, data_option
from resbench.errors import ExitCode, ResbenchError


@click.group("data")
def command() -> None:
    """List and fetch data sets."""


@command.command("list")
@data_option
def list_(data: tuple[str, ...]) -> int:
    """List the data sets, and say which are the published ones.

    Reads every data set that it finds, in full, and checks digests, images and labels. Exit 3 if
    one that it finds cannot be used.
    """
    from resbench.data.sources import how_to_get, identify, load, parse_locations
    from resbench.datasets import DATA_SETS

    locations, code = parse_locations(data), ExitCode.OK
    for name in DATA_SETS:
        text = f"not available. {how_to_get(name)}"
        try:
            source = identify(name, locations)
            if source.available:
                images = load(source)
                what = "the published data set" if source.published else f"label {source.label}"
                counts = f"{len(images.train_labels):,} + {len(images.test_labels):,} images"
                where = source.path or "installed with resbench"
                text = f"{where}  ({what}, {counts}, {source.id})"
        except ResbenchError as error:
            text, code = str(error), ExitCode.ENVIRONMENT
        click.echo(f"{name:{max(map(len, DATA_SETS))}}  {text}")
    return code


@command.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--to", type=NamedPath(path_type=Path), metavar="DIR",
              help="Folder to put the archives in (default: the user's data folder).")  # fmt: skip
def fetch(names: tuple[str, ...], to: Path | None) -> None:
    """Download published archives, verify their MD5 and unpack them."""
    from resbench.data.sources import fetch as fetch_archive

    for name in names:
        click.echo(f"{name}: {fetch_archive(name, to)}")
