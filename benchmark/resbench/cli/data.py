"""``resbench data``: list, check and fetch data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from resbench.cli.options import NamedPath, data_option, format_option
from resbench.errors import ExitCode, ResbenchError


@click.group("data")
def command() -> None:
    """List, check and fetch data sets."""


@command.command("list")
@data_option
@format_option("table", "json", default="table")
def list_(data: tuple[str, ...], format_: str) -> None:
    """Show which data sets are at hand, where, and which of them are the printed ones."""
    from resbench.data.catalog import NUM_CLASSES, data_dir, how_to_get
    from resbench.data.locations import parse_locations
    from resbench.data.sources import identify

    locations = parse_locations(data)
    rows: list[dict[str, Any]] = []
    for name in NUM_CLASSES:
        source = identify(name, locations)
        at_hand = source.kind == "digits" or source.path is not None
        rows.append({
            "name": name, "label": source.label, "kind": source.kind, "printed": source.printed,
            "at_hand": at_hand, "path": str(source.path) if source.path else None, "id": source.id,
        })  # fmt: skip
    if format_ == "json":
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        where = row["path"] or ("comes with scikit-learn" if row["at_hand"] else "not at hand")
        printed = "the printed data set" if row["printed"] else f"label {row['label']}"
        click.echo(f"{row['name']:9} {where}  ({printed}, {row['id'][:23]})")
        if not row["at_hand"]:
            by_hand = how_to_get(row["name"], data_dir())
            click.echo(f"{'':9} resbench data fetch {row['name']}, or {by_hand}")


@command.command("check")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@data_option
def check(names: tuple[str, ...], data: tuple[str, ...]) -> int:
    """Read data sets in full: digests, decoding, labels, and the fingerprint of their pixels."""
    from resbench.data.locations import parse_locations
    from resbench.data.sources import identify, load

    locations = parse_locations(data)
    bad = 0
    for name in names:
        try:
            source = identify(name, locations)
            images = load(source)
        except ResbenchError as error:
            click.echo(str(error), err=True)
            bad = max(bad, error.exit_code)
            continue
        counts = f"{len(images.train_labels)} + {len(images.test_labels)} images"
        click.echo(f"{name}: {source.label}, {counts}, fingerprint sha256:{images.fingerprint}")
    return ExitCode(bad)


@command.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--to", type=NamedPath(path_type=Path), metavar="DIR",
              help="Folder to put the archives in (default: the user's data folder).")  # fmt: skip
def fetch(names: tuple[str, ...], to: Path | None) -> None:
    """Download published archives, verify their MD5 and unpack them."""
    from resbench.data.archives import fetch as fetch_archive

    for name in names:
        click.echo(f"{name}: {fetch_archive(name, to)}")
