"""A document on a terminal, by rich: no text in it acts as markup or an escape sequence."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from resbench.report import document as doc
from resbench.report.render import column_groups

_GAP = 2
_WORDS, _READABLE = 26, 16
"""A longer text than the first may wrap, down to the second."""
_TITLES = {1: "bold magenta", 2: "bold cyan"}


def render(document: doc.Document, width: int | None = None) -> str:
    """Return the document for a terminal ``width`` columns wide (by default, this one).

    It is in colour where standard output shows colours.
    """
    width = width or shutil.get_terminal_size((100, 24)).columns
    output, coloured = io.StringIO(), sys.stdout.isatty()
    console = Console(file=output, width=width, force_terminal=coloured, highlight=False)
    for block, after in zip(document.blocks, (*document.blocks[1:], None), strict=True):
        for part in _renderables(block, width):
            console.print(part, soft_wrap=isinstance(block, doc.Command))
        if isinstance(block, doc.Table) and isinstance(after, doc.Paragraph | doc.Items):
            console.print()
    # rich fills every line up to the width, which nobody wants in a file
    return "".join(f"{line.rstrip()}\n" for line in output.getvalue().splitlines())


def _renderables(block: doc.Block, width: int) -> Iterator[RenderableType]:
    match block:
        case doc.Heading(level, text):
            yield Padding(Text(doc.plain(text), _TITLES.get(level, "bold")), (1, 0, 0, 0))
        case doc.Paragraph(text):
            yield Text(doc.plain(doc.words(text)))
        case doc.Items(items, numbered):
            yield _items(items, numbered)
        case doc.Command(line):
            yield Text(f"$ {doc.plain(line)}", "green")
        case doc.Fold(summary, _):
            yield Text(f"{doc.plain(summary)}: see --format markdown or json", "dim")
        case doc.Figure(path, _):
            yield Text(f"Figure: {doc.plain(path)}", "dim")
        case doc.Table():
            widths = _widths(block)
            for columns in _parts(block, widths, width):
                yield ""
                fits = sum(widths[i] + _GAP for i in columns) <= width + _GAP
                yield _grid(block, columns, fits)


def _items(items: Sequence[doc.Prose], numbered: bool) -> Grid:
    table = Grid.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim")
    table.add_column()
    for i, item in enumerate(items, 1):
        table.add_row(f"{i}." if numbered else "-", Text(doc.plain(doc.words(item))))
    return table


def _widths(table: doc.Table) -> list[int]:
    """Return the least width of each column; numbers never wrap."""
    widths = []
    for i, (title, align) in enumerate(zip(table.header, table.align, strict=True)):
        least = cell_len if align == "r" else _widest
        texts = (least(doc.shown(row[i])) for row in table.rows)
        widths.append(max(*map(_widest, title.split("\n")), 0, *texts))
    return widths


def _parts(table: doc.Table, widths: list[int], width: int) -> list[list[int]]:
    """Return the columns of each table to print: all, or groups of them where all are too wide."""
    parts = [[0]]
    for group in column_groups(table) or [range(1, len(table.header))]:
        wide = sum(widths[i] + _GAP for i in (*parts[-1], *group)) > width + _GAP
        if wide and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1] += group
    return parts


def _widest(text: str) -> int:
    """Return the least width of a text that may wrap."""
    width = cell_len(text)
    return width if width <= _WORDS else _READABLE


def _grid(table: doc.Table, columns: list[int], fits: bool) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for i in columns:
        title, right = table.header[i].split("\n"), table.align[i] == "r"
        texts = [] if right else [doc.shown(row[i]) for row in table.rows]
        # the names of rows are never broken
        whole = all(
            cell_len(line) <= _WORDS and (fits or (i == 0 and " " not in line))
            for line in title + texts
        )
        justify: Literal["left", "right"] = "right" if right else "left"
        header = Text("\n".join(map(doc.plain, title)))
        grid.add_column(header, justify=justify, no_wrap=whole, overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(doc.plain(doc.shown(row[i]))) for i in columns))
    return grid
