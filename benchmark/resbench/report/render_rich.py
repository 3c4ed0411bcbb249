"""Blocks on a terminal, by rich; nothing in a block is taken for markup or an escape sequence."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text as Styled

from resbench.report.blocks import Block, Command, Folded, Grid, Heading, Items, Text, plain

_JUSTIFY = {"l": "left", "r": "right", "c": "center"}
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
        console.print(_renderable(block), soft_wrap=isinstance(block, Command))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def _renderable(block: Block) -> RenderableType:
    match block:
        case Heading(level, text):
            return Padding(Styled(plain(text), _TITLES.get(level, "bold")), (1, 0, 0, 0))
        case Text(text):
            return Styled(plain(text))
        case Items(items, numbered):
            return _items(items, numbered)
        case Command(line):
            return Styled(f"$ {plain(line)}", "green")
        case Folded(summary, _):
            return Styled(f"{plain(summary)} (in --format markdown and json)", "dim")
        case Grid():
            return _grid(block)


def _items(items: tuple[str, ...], numbered: bool) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim")
    table.add_column()
    for i, item in enumerate(items, 1):
        table.add_row(f"{i}." if numbered else "-", Styled(plain(item)))
    return table


def _grid(grid: Grid) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title, align in zip(grid.header, grid.align, strict=True):
        header = Styled("\n".join(map(plain, title.split("\n"))))
        table.add_column(header, justify=_JUSTIFY[align], no_wrap=align == "r")  # type: ignore[arg-type]
    for row in grid.rows:
        table.add_row(*(Styled(plain(cell)) for cell in row))
    return table
