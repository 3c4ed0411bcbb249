"""``resbench new``: start a paper of your own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import click

from resbench.cli.options import NamedPath
from resbench.errors import UsageError
from resbench.suite.yaml import plain_value

PLACES = {
    "sources.yaml": "sources.yaml",
    "protocol.yaml": "protocols/{paper}.yaml",
    "table1.yaml": "table1.yaml",
}
"""Where each template of ``paper/`` goes."""
OWN_NETWORKS = {"networks.py": "networks.py", "tiny.yaml": "tiers/tiny.yaml"}


@click.command("new")
@click.argument("folder", type=NamedPath(path_type=Path), metavar="FOLDER")
@click.option("--networks", is_flag=True, help="Also write networks.py, for networks of your own.")
def command(folder: Path, networks: bool) -> None:
    """Write the files of a new paper to FOLDER: its source, its protocol and one table.

    They are valid and run as they are, in seconds, so that you can replace one placeholder after
    the other. The name of the folder is the paper's name in suites.
    """
    paper = folder.absolute().name
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", paper) or not isinstance(plain_value(paper), str):
        raise UsageError(
            f"{folder}: its name is the paper's name in suites. Use small letters, digits, - and "
            "_, a letter first, like smith2024."
        )
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and is not empty. Choose another name.")
    if folder.absolute() == Path.cwd():  # it would be replaced under the user's shell
        raise UsageError(f"{folder}: is the working folder. Name it from the folder above.")
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from resbench.store.atomic import UNSWEPT, fault, temporary_in
    from resbench.suite.load import suite_folder

    templates = Environment(
        loader=PackageLoader("resbench.cli", "paper"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    places = [
        (template, place.format(paper=paper))
        for template, place in (PLACES | (OWN_NETWORKS if networks else {})).items()
    ]
    # A full disk must leave no half of a paper.
    made = temporary_in(folder.absolute().parent, UNSWEPT)
    try:
        for template, place in places:
            schemas = os.path.relpath(suite_folder() / "schema", (folder / place).parent.resolve())
            (made / place).parent.mkdir(parents=True, exist_ok=True)
            (made / place).write_text(
                templates.get_template(f"{template}.j2").render(
                    paper=paper, schemas=schemas, networks=networks
                ),
                "utf-8",
            )
        os.rename(made, folder)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        raise fault(folder, error) from error
    for _, place in places:
        click.echo(folder / place)
    table = shlex.quote(str(folder / "table1.yaml"))
    click.echo(f"Next: `resbench validate {table}`, `resbench run {table}`.", err=True)
