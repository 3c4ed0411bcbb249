"""Options that several verbs share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from resbench.errors import EnvironmentFault

_F = TypeVar("_F", bound=Callable[..., Any])


def results_option(function: _F) -> _F:
    """Add ``--results DIR``, by default ``results/`` of the working directory."""
    return _results(None)(function)


def results_to_read_option(*, needed: bool = False) -> Callable[[_F], _F]:
    """Add ``--results DIR`` of a verb that reads it: a folder that is named must be there.

    The default may be missing and is empty then, unless it is ``needed``.
    """

    def found(context: click.Context, parameter: click.Parameter, value: Path) -> Path:
        named = context.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT
        from resbench.store.layout import ResultsFolder, what_is

        if not os.path.isdir(value) and (named or needed or os.path.lexists(value)):
            why = f", but {what_is(value)}" if os.path.islink(value) else ""
            raise EnvironmentFault(f"{value}: no such results folder{why}. Name it with --results.")
        ResultsFolder(value).is_marked()  # refuses a format that another resbench knows
        return value

    return _results(found)


class NamedPath(click.Path):
    """A path with a name: an empty one, as of an unset variable, would be the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail where it is empty."""
        if value == "":
            self.fail("the name is empty.", param, ctx)
        return super().convert(value, param, ctx)


def _results(callback: Callable[..., Path] | None) -> Callable[[_F], _F]:
    return click.option(
        "--results",
        type=NamedPath(path_type=Path),
        default=Path("results"),
        show_default=True,
        metavar="DIR",
        help="Results folder.",
        callback=callback,
    )


def format_option(*formats: str, default: str) -> Callable[[_F], _F]:
    """Add ``--format`` with the verb's formats; ``rich`` by default is for terminals only."""

    def chosen() -> str:
        return "markdown" if default == "rich" and not sys.stdout.isatty() else default

    return click.option(
        "--format",
        "format_",
        type=click.Choice(formats),
        default=chosen,
        show_default="rich on a terminal, else markdown" if default == "rich" else default,
        help="How to print.",
    )


def data_option(function: _F) -> _F:
    """Add the repeatable ``--data NAME=PATH``."""
    return click.option(
        "--data",
        "data",
        multiple=True,
        metavar="NAME=PATH",
        help="Where a data set lies: a folder of Parquet files or an official archive. Repeatable.",
    )(function)
