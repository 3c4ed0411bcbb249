"""``resbench validate``: check suite files without running anything."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from resbench.errors import ExitCode, ResbenchError
from resbench.words import count


@click.command("validate")
@click.argument("suites", nargs=-1, type=click.Path(), metavar="[SUITE]...")
def command(suites: tuple[str, ...]) -> int:
    """Check suite files.

    Loads each file with its protocol and expands it as declared and under every tier: those next to
    the file, and the shipped ones that know its networks. Prints all problems with file, line and
    column. SUITE may be a folder of suites. Without it: every shipped suite.
    """
    from resbench.suite.load import suite_names

    code = ExitCode.OK
    for name in _files(suites) or suite_names():
        try:
            click.echo(f"{name}: {_contents(name)}: ok")
        except ResbenchError as error:
            click.echo(error, err=True)
            code = ExitCode.USAGE
    return code


def _files(names: Iterable[str]) -> list[str]:
    """Return the names, each once; in the place of a folder the files in it."""
    from resbench.suite.load import YAML_FILES

    found: dict[str, None] = {}
    for name in names:
        inside = sorted(map(str, Path(name).glob(YAML_FILES))) if Path(name).is_dir() else []
        found |= dict.fromkeys(inside or [name])
    return list(found)


def _contents(name: str) -> str:
    """Check a file and return what it holds."""
    from resbench.analysis.checks import check_suite
    from resbench.suite.load import EXECUTORS, SOURCES
    from resbench.suite.messages import validate
    from resbench.suite.schema import Executors, Sources
    from resbench.suite.yaml import load_document

    path = Path(name)
    if path.name == SOURCES:
        return count(len(validate(Sources, load_document(path)).sources), "source")
    if path.name == EXECUTORS:
        return f"{count(len(validate(Executors, load_document(path)).slurm), 'option')} of sbatch"
    found = check_suite(name)
    skipped = f" ({found['skipped']} skipped)" if found["skipped"] else ""
    return (
        f"{count(found['cells'], 'cell')}{skipped}, {count(found['runs'], 'run')}, "
        f"{count(found['published'], 'published value')}, {count(found['claims'], 'claim')}"
    )
