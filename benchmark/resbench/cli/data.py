"""``resbench data``: list and fetch data sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from resbench.cli.options import NamedPath, data_option, format_option
from resbench.errors import ExitCode, ResbenchError


@click.group("data")
def command() -> None:
    """List and fetch data sets."""


@command.command("list")
@data_option
@format_option("text", "json")
def list_(data: tuple[str, ...], format_: str | None) -> int:
    """Show which data sets are available, where, and which of them are the published ones.

    What is found is read in full: digests, decoding, labels. The exit code is 3 if any of it cannot
    be used.
    """
    from resbench.data.sources import parse_locations
    from resbench.datasets import DATA_SETS

    locations = parse_locations(data)
    rows = [_row(name, locations) for name in DATA_SETS]
    if format_ == "json":
        click.echo(json.dumps(rows, indent=1))
    else:
        width = max(map(len, DATA_SETS))
        for row in rows:
            click.echo(f"{row['name']:{width}}  {_text(row)}")
    return ExitCode(max(0 if row["problem"] is None else ExitCode.ENVIRONMENT for row in rows))


@command.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--to", type=NamedPath(path_type=Path), metavar="DIR",
              help="Folder to put the archives in (default: the user's data folder).")  # fmt: skip
def fetch(names: tuple[str, ...], to: Path | None) -> None:
    """Download published archives, verify their MD5 and unpack them."""
    from resbench.data.sources import fetch as fetch_archive

    for name in names:
        click.echo(f"{name}: {fetch_archive(name, to)}")


def _row(name: str, locations: Mapping[str, Path]) -> dict[str, Any]:
    from resbench.data.sources import identify, load

    row: dict[str, Any] = {"name": name, "available": False, "problem": None}
    try:
        source = identify(name, locations)
        row |= {
            "label": source.label, "id": source.id, "published": source.published,
            "kind": source.kind, "path": str(source.path) if source.path else None,
        }  # fmt: skip
        if source.available:
            images = load(source)
            row |= {
                "available": True, "train_images": len(images.train_labels),
                "test_images": len(images.test_labels),
            }  # fmt: skip
    except ResbenchError as error:
        row["problem"] = str(error)
    return row


def _text(row: Mapping[str, Any]) -> str:
    from resbench.data.sources import how_to_get

    if row["problem"] is not None:
        return str(row["problem"])
    if not row["available"]:
        return f"not available. {how_to_get(row['name'])}"
    where = row["path"] or "installed with resbench"
    what = "the published data set" if row["published"] else f"label {row['label']}"
    counts = f"{row['train_images']:,} + {row['test_images']:,} images"
    return f"{where}  ({what}, {counts}, {row['id'][:23]})"
