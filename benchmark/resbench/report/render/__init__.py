"""Formats: a renderer is a function from a document to text, in a module of its own.

To add a format, write ``render(document) -> str`` in a module here and give it a row below; every
command that shows documents then offers it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from itertools import accumulate, pairwise

from resbench.report.document import Document, Table


@dataclass(frozen=True)
class Format:
    """Where a format's renderer is, and what files of it are called."""

    module: str
    """Below this package; imported only when the format is asked for."""
    suffix: str
    figures: bool = False
    """Whether files of it hold figures, which take seconds to draw."""


FORMATS: dict[str, Format] = {
    "text": Format("terminal", ".txt"),
    "markdown": Format("markdown", ".md"),
    "json": Format("json", ".json"),
    "csv": Format("csv", ".csv"),
    "latex": Format("latex", ".tex"),
    "html": Format("html", ".html", figures=True),
}


def render(document: Document, name: str) -> str:
    """Return a document in a format."""
    module = import_module(f"{__name__}.{FORMATS[name].module}")
    return str(module.render(document))


def column_groups(table: Table) -> list[range]:
    """Return the columns of every group; the first column of the table is in none."""
    return [range(*ends) for ends in pairwise(accumulate(table.groups, initial=1))]
