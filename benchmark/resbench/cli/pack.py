"""``resbench pack``: pack finished runs into one file."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import NamedPath, is_plain, results_to_read_option
from resbench.errors import UsageError
from resbench.words import count


@click.command("pack")
@click.argument("place", type=NamedPath(), metavar="FILE.tar")
@results_to_read_option(needed=True)
def command(place: str, results: Path) -> None:
    """Write the finished runs of a results folder, with their predictions, to one tar file.

    FILE.tar is a path or a URL (s3://bucket/runs.tar). The same runs give the same bytes.
    `resbench merge` checks each file before it adds it. To finish a run on another machine, copy
    the whole results folder there.
    """
    from resbench.store.transfer import local_file, pack

    if not place.endswith(".tar"):
        raise UsageError(f"{place}: packs are tar files. Choose a name that ends in .tar.")
    with local_file(place, read=False) as out:
        if not is_plain(out):
            raise UsageError(f"{out}: cannot be replaced, it is not a plain file. Choose another.")
        packed, skipped = pack(results.absolute(), out)
        for name, reason in skipped:
            click.echo(f"left out {name}: {reason}", err=True)
        if not packed:
            raise UsageError(f"{results}: no finished run to pack; {place} is not written.")
        size = out.stat().st_size / 1e3
    click.echo(f"{count(len(packed), 'run')} in {place} ({size:,.0f} kB)", err=True)
