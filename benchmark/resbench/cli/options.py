"""Options that several verbs share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from resbench.errors import EnvironmentFault, UsageError
from resbench.report.document import Document
from resbench.report.render import FORMATS, render

_F = TypeVar("_F", bound=Callable[..., Any])


def results_option(function: _F) -> _F:
    """Add ``--results DIR``, by default ``results/`` of the working directory."""
    return _results(None)(function)


def results_to_read_option(*, needed: bool = False) -> Callable[[_F], _F]:
    """Add ``--results DIR`` of a verb that reads it: a folder that the user names must exist.

    The default folder may be missing and then counts as empty, unless it is ``needed``.
    """

    def found(context: click.Context, parameter: click.Parameter, value: Path) -> Path:
        named = context.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT
        from resbench.store.layout import ResultsFolder, what_is

        if not os.path.isdir(value) and (named or needed or os.path.lexists(value)):
            why = f", but {what_is(value)}" if os.path.islink(value) else ""
            raise EnvironmentFault(f"{value}: no such results folder{why}. Name it with --results.")
        ResultsFolder(value).is_marked()  # refuses the format of another resbench
        return value

    return _results(found)


class NamedPath(click.Path):
    """A path that is not empty: an unset variable would mean the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail where it is empty."""
        if value == "":
            self.fail("the name is empty.", param, ctx)
        return super().convert(value, param, ctx)


def _results(callback: Callable[..., Path] | None) -> Callable[[_F], _F]:
    return click.option(
        "--results", type=NamedPath(path_type=Path), default=Path("results"), show_default=True,
        metavar="DIR", help="Results folder.", callback=callback,
    )  # fmt: skip


def format_option(function: _F) -> _F:
    """Add ``--format`` with all formats that a document can be rendered in."""
    *names, last = FORMATS
    return click.option(
        "--format", "format_", type=click.Choice([*names, last]), metavar="NAME",
        help=f"{', '.join(names)} or {last}; by default {names[0]}.",
    )(function)  # fmt: skip


def show(document: Document, format_: str | None) -> None:
    """Print a document.

    Raises:
        UsageError: CSV of a document without rows.
    """
    if format_ == "csv" and not document.rows:
        raise UsageError("--format csv: this answer has no rows. Use json.")
    click.echo(render(document, format_ or "text"), nl=False)


def data_option(function: _F) -> _F:
    """Add the repeatable ``--data NAME=PATH``."""
    return click.option(
        "--data", multiple=True, metavar="NAME=PATH",
        help="Archive or folder of a data set. Repeatable.",
    )(function)  # fmt: skip
