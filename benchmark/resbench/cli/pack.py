"""``resbench pack``: pack finished runs into one file."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import NamedPath, results_to_read_option
from resbench.errors import UsageError
from resbench.words import count


@click.command("pack")
@click.argument("out", type=NamedPath(path_type=Path), metavar="FILE.tar")
@results_to_read_option(needed=True)
def command(out: Path, results: Path) -> None:
    """Write the finished runs of a results folder, with their predictions, to one tar file.

    The same runs give the same bytes. `resbench merge` checks each file before it adds it. To
    finish a run on another machine, copy the whole results folder there.
    """
    from resbench.cli.output import is_plain
    from resbench.store.transfer import pack

    if out.suffix != ".tar":
        raise UsageError(f"{out}: packs are tar files. Choose a name that ends in .tar.")
    if not is_plain(out):
        raise UsageError(f"{out}: cannot be replaced, it is not a plain file. Choose another name.")
    packed, skipped = pack(results.absolute(), out)
    for name, reason in skipped:
        click.echo(f"left out {name}: {reason}", err=True)
    if not packed:
        raise UsageError(f"{results}: no finished run to pack; {out} is not written.")
    click.echo(
        f"{count(len(packed), 'run')} in {out} ({out.stat().st_size / 1e6:.1f} MB)", err=True
    )
