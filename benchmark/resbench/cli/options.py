"""Options that several verbs share, and where their output goes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from resbench.errors import EnvironmentFault, UsageError
from resbench.report.document import Document
from resbench.report.render import FORMATS, render
from resbench.store.atomic import UNSWEPT, faults_at, write_atomic

_F = TypeVar("_F", bound=Callable[..., Any])


class NamedPath(click.Path):
    """A path that is not empty: an unset variable would mean the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail where it is empty."""
        if value == "":
            self.fail("the name is empty.", param, ctx)
        return super().convert(value, param, ctx)


def _results(callback: Callable[..., Path] | None = None) -> Callable[[_F], _F]:
    return click.option(
        "--results", type=NamedPath(path_type=Path), default=Path("results"), show_default=True,
        metavar="DIR", help="Results folder.", callback=callback,
    )  # fmt: skip


results_option = _results()
data_option = click.option("--data", multiple=True, metavar="NAME=PATH",
                           help="Archive or folder of a data set. Repeatable.")  # fmt: skip


def results_to_read_option(*, needed: bool = False) -> Callable[[_F], _F]:
    """Return ``--results DIR`` for a verb that reads it: a folder that is named must exist.

    The default folder may be missing and then counts as empty, unless it is ``needed``.
    """

    def found(context: click.Context, _: click.Parameter, value: Path) -> Path:
        from resbench.store.layout import is_marked, may_be_results, what_is

        named = context.get_parameter_source("results") is not ParameterSource.DEFAULT
        if not os.path.isdir(value) and (named or needed or os.path.lexists(value)):
            why = f" ({what_is(value)})" if os.path.islink(value) else ""
            raise EnvironmentFault(
                f"{value}: no such results folder{why}. Name one with --results."
            )
        is_marked(value)  # refuses the format of another resbench
        if named and not may_be_results(value):
            raise EnvironmentFault(
                f"{value}: not a results folder: it has no runs/. Name one with --results."
            )
        return value

    return _results(found)


def format_option(*, rows: bool = False) -> Callable[[_F], _F]:
    """Return ``--format`` with all formats of documents; of csv, only where there are ``rows``."""
    *names, last = (name for name in FORMATS if rows or name != "csv")
    return click.option(
        "--format", "format_", type=click.Choice([*names, last]), metavar="NAME",
        help=f"{', '.join(names)} or {last}; by default {names[0]}.",
    )  # fmt: skip


def show(document: Document, format_: str | None) -> None:
    """Print a document, by default as text."""
    click.echo(render(document, format_ or "text"), nl=False)


def write_output(path: Path, data: bytes) -> None:
    """Write a plain file, whole or not at all, through a link; write into a device or a pipe.

    Raises:
        EnvironmentFault: a folder, or the system refused.
    """
    with faults_at(path):
        if is_plain(path):
            write_atomic(Path(os.path.realpath(path)), data, UNSWEPT)
        else:
            path.write_bytes(data)


def is_plain(path: Path) -> bool:
    """Return whether ``path`` is a plain file or nothing yet, so that it may be replaced."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True


def parse_budget(text: str) -> float:
    """Parse ``90s``, ``9m``, ``1h30m`` into seconds."""
    match = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", text)
    if match is None or not any(match.groups()):
        raise UsageError(f"--budget {text}: give a duration like 90s, 9m or 1h30m.")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if total == 0:
        raise UsageError(f"--budget {text}: must be longer than 0 s.")
    return float(total)


_PLANNING = (
    click.option("--tier", default="paper", metavar="NAME",
                 help="Scale of the experiment: paper, tiny, cpu, ..."),
    click.option("--seeds", metavar="LIST",
                 help="'3' is seeds 1 to 3, '3,' is seed 3; or '1,5,9'."),
    click.option("--cell", "cells", multiple=True, metavar="CELL",
                 help="Only this cell, or all cells of a level. Repeatable."),
    click.option("--set", "set_", multiple=True, metavar="KEY=VALUE",
                 help="Change a setting. Repeatable."),
    data_option,
    results_option,
    click.option("--devices", default="auto", metavar="LIST",
                 help="auto, cpu, cuda, or cuda:0,cuda:1,cpu."),
    click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N",
                 help="Workers; by default one per core on a CPU."),
    click.option("--engine", type=click.Choice(["eager", "graph", "graph+compile"]),
                 default="eager", metavar="NAME",
                 help="eager; on a GPU also graph or graph+compile."),
    click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32",
                 metavar="NAME", help="fp32, or bf16 on a GPU."),
    click.option("--budget", metavar="TIME",
                 help="Time available, like 9m or 1h30m; run again to resume."),
)  # fmt: skip


def planning_options(function: _F) -> _F:
    """Add what `run` and `plan` have in common."""
    for option in reversed(_PLANNING):
        function = option(function)
    return function


def this_command(verb: str, *left_out: str) -> list[str]:
    """Return the words that call a verb with this call's suites and options, but for some."""
    context = click.get_current_context()
    words = [verb, *context.params["suites"]]
    for parameter in context.command.params:
        name = str(parameter.name)
        default = context.get_parameter_source(name) is ParameterSource.DEFAULT
        if default or name in ("suites", *left_out):
            continue
        value, flag = context.params[name], parameter.opts[-1]
        for item in value if parameter.multiple else [value]:
            words += [flag] if item is True else [flag, str(item)]
    return words
