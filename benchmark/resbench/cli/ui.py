"""``resbench ui``: open the MLflow UI on the mirror."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType

import click

from resbench.cli.options import results_option, tracking_option
from resbench.errors import EnvironmentFault, ExitCode


@click.command("ui")
@results_option
@tracking_option
@click.option(
    "--port", type=click.IntRange(1, 65535), help="TCP port; 5000, or a free one where it is taken."
)
def command(results: Path, tracking_uri: str | None, port: int | None) -> int:
    """Serve the MLflow UI of the mirror, on this machine only, until Ctrl-C.

    Prints the page of each suite. The UI of a tracking server is already served: its address is
    printed.
    """
    from resbench.tracking.server import serving
    from resbench.tracking.settings import find_store

    store = find_store(results, tracking_uri)
    if store.database is None:
        click.echo(store.shown)
        return ExitCode.OK
    if not store.database.is_file():
        raise EnvironmentFault(f"{store.database}: no mirror yet. Make it with {store.sync}.")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would ignore it
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)  # the server must not outlive us
    click.echo("Starting the MLflow UI, which takes some seconds.", err=True)
    try:
        with serving(store, port) as ui:
            pages = ui.pages()
            width = max(map(len, pages), default=0)
            for suite, page in pages.items():
                click.echo(f"{suite:{width}}  {page}")
            click.echo(f"{ui.url}  Ctrl-C ends it.")
            ui.process.wait()
    except KeyboardInterrupt:
        return ExitCode.OK
    raise EnvironmentFault("the MLflow UI has ended by itself. Start it again.")


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
