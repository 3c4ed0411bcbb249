"""Blocks on a terminal, by rich; nothing in a block is taken for markup or an escape sequence."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable, Iterator

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text as Styled

from resbench.report.document import Block, Command, Folded, Grid, Heading, Items, Text, plain

_GAP = 2
_WORDS, _READABLE = 26, 16
"""A longer text than the first may wrap, down to the second."""
_TITLES = {1: "bold magenta", 2: "bold cyan"}


def terminal(blocks: Iterable[Block], width: int | None = None) -> str:
    """Return the blocks as text for a terminal ``width`` columns wide (by default, this one)."""
    console = Console(
        file=io.StringIO(),
        width=width or shutil.get_terminal_size((100, 24)).columns,
        force_terminal=sys.stdout.isatty(),
        highlight=False,
    )
    for block in blocks:
        for part in _renderables(block, console.width):
            console.print(part, soft_wrap=isinstance(block, Command))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def _renderables(block: Block, width: int) -> Iterator[RenderableType]:
    match block:
        case Heading(level, text):
            yield Padding(Styled(plain(text), _TITLES.get(level, "bold")), (1, 0, 0, 0))
        case Text(text):
            yield Styled(plain(text))
        case Items(items, numbered):
            yield _items(items, numbered)
        case Command(line):
            yield Styled(f"$ {plain(line)}", "green")
        case Folded(summary, _):
            yield Styled(f"{plain(summary)}: see --format markdown or json", "dim")
        case Grid():
            yield ""
            widths = _widths(block)
            for columns in _parts(block, widths, width):
                fits = sum(widths[i] + _GAP for i in columns) <= width + _GAP
                yield _grid(block, columns, fits)


def _items(items: tuple[str, ...], numbered: bool) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim")
    table.add_column()
    for i, item in enumerate(items, 1):
        table.add_row(f"{i}." if numbered else "-", Styled(plain(item)))
    return table


def _widths(grid: Grid) -> list[int]:
    """Return the least width of each column; numbers never wrap."""
    return [
        max(
            *(_widest(title) for title in grid.header[i].split("\n")),
            *(cell_len(row[i]) if align == "r" else _widest(row[i]) for row in grid.rows),
            0,
        )
        for i, align in enumerate(grid.align)
    ]


def _parts(grid: Grid, widths: list[int], width: int) -> list[list[int]]:
    """Return the columns of each table to print: all, or groups of them where all are too wide."""
    parts: list[list[int]] = [[0]]
    first = 1
    for size in grid.groups or [len(grid.header) - 1]:
        group = list(range(first, first + size))
        if len(parts[-1]) > 1 and sum(widths[i] + _GAP for i in parts[-1] + group) > width + _GAP:
            parts.append([0])
        parts[-1] += group
        first += size
    return parts


def _widest(text: str) -> int:
    """Return the least width of a text that may wrap."""
    width = cell_len(text)
    return width if width <= _WORDS else _READABLE


def _grid(grid: Grid, columns: list[int], fits: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for i in columns:
        header = Styled("\n".join(map(plain, grid.header[i].split("\n"))))
        right = grid.align[i] == "r"
        whole = right or all(cell_len(row[i]) <= _WORDS for row in grid.rows)
        table.add_column(
            header, justify="right" if right else "left", no_wrap=whole and fits, overflow="fold"
        )
    for row in grid.rows:
        table.add_row(*(Styled(plain(row[i])) for i in columns))
    return table
