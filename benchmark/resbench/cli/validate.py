"""``resbench validate``: check suite files without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from resbench.cli.options import format_option
from resbench.errors import ExitCode, ResbenchError
from resbench.words import count


@click.command("validate")
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@format_option("text", "json")
def command(suites: tuple[str, ...], format_: str | None) -> int:
    """Check suite files.

    Each is loaded with its protocol and expanded as declared and under every tier, the shipped ones
    and those beside it. All problems are printed, with file, line and column; without SUITE, of
    every shipped suite.
    """
    from resbench.suite.catalog import suite_names

    found = [_check(name) for name in dict.fromkeys(suites or suite_names())]
    if format_ == "json":
        click.echo(json.dumps({"schema": 1, "suites": found}, indent=1))
    else:
        for suite in found:
            for problem in suite["problems"]:
                click.echo(problem, err=True)
            if not suite["problems"]:
                click.echo(_line(suite))
    return ExitCode.USAGE if any(suite["problems"] for suite in found) else ExitCode.OK


def _check(name: str) -> dict[str, Any]:
    """Return what a suite holds, or every problem of it."""
    from resbench.analysis.checks import check_suite
    from resbench.suite.catalog import SOURCES, check_sources

    try:
        if Path(name).name == SOURCES:  # lies with the suites, so a shell's * names it too
            return {"suite": name, "problems": [], "sources": check_sources(Path(name))}
        return {"suite": name, "problems": [], **check_suite(name)}
    except ResbenchError as error:
        return {"suite": name, "problems": str(error).splitlines()}


def _line(suite: dict[str, Any]) -> str:
    if "sources" in suite:
        return f"{suite['suite']}: {count(suite['sources'], 'source')}: ok"
    parts = [
        count(suite["cells"], "cell")
        + (f" ({suite['skipped']} skipped)" if suite["skipped"] else ""),
        count(suite["runs"], "run"),
        count(suite["printed"], "printed place"),
        count(suite["claims"], "claim"),
    ]
    return f"{suite['suite']}: {', '.join(parts)}: ok"
