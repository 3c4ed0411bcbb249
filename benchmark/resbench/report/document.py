"""What a page is made of, whatever its format.

Every text in a block is plain: a renderer escapes it. Line breaks in a grid's header stay; all
other white space, and characters that cannot be seen, are made harmless by :func:`plain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resbench.words import one_line

SCHEMA = 1
"""Of every ``--format json``: counts up when a field changes its meaning or goes away."""


@dataclass(frozen=True)
class Heading:
    """A title; level 1 is the page's."""

    level: int
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Grid:
    """A table; ``align`` has l or r per column."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str
    groups: tuple[int, ...] = ()
    """How many columns after the first belong together, where a narrow page has to part them."""


@dataclass(frozen=True)
class Items:
    """A list, numbered from 1 or with bullets."""

    items: tuple[str, ...]
    numbered: bool = False


@dataclass(frozen=True)
class Command:
    """A line for the user's shell, to be copied as it stands."""

    line: str


@dataclass(frozen=True)
class Folded:
    """An appendix that is opened on demand; a terminal shows its summary only."""

    summary: str
    blocks: tuple[Block, ...]


Block = Heading | Text | Grid | Items | Command | Folded


@dataclass(frozen=True)
class Page:
    """One answer in all formats: blocks to read, ``data`` for JSON, ``rows`` for CSV."""

    blocks: tuple[Block, ...]
    data: Mapping[str, Any] = field(repr=False)
    rows: Sequence[Mapping[str, Any]] = field(default=(), repr=False)


def plain(text: str) -> str:
    """Return text on one line, without anything that a terminal or a reader would act on."""
    return one_line(" ".join(text.split()))
