"""What a document is made of, whatever its format.

Every text is plain: a renderer escapes it. Line breaks in a table's header stay; all other white
space, and characters that cannot be seen, are made harmless by :func:`plain`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from resbench.words import one_line

Tone = Literal["for", "against", "open"]
"""Whether a verdict speaks for the source."""


@dataclass(frozen=True)
class Link:
    """A link to another page of the same folder, or to an address."""

    text: str
    target: str


@dataclass(frozen=True)
class Strong:
    """Emphasised text."""

    text: str


@dataclass(frozen=True)
class Verdict:
    """The words for a verdict."""

    text: str
    tone: Tone = "open"


Part = str | Link | Strong | Verdict
Prose = str | Sequence[Part]
"""One paragraph's text, where needed in parts."""


@dataclass(frozen=True)
class Number:
    """A number as shown, with the sign of its verdict; its value is for formats that sort."""

    text: str
    value: float | None = None
    mark: str = ""
    notes: Sequence[int] = ()
    """Numbers of the notes below the table."""
    details: Sequence[Block] = field(default=(), repr=False)
    """What it is made of, for formats that can open a number."""


@dataclass(frozen=True)
class Effect:
    """A measured effect and its interval, for formats that draw it; the others show the text."""

    text: str
    value: float | None
    interval: tuple[float, float] | None
    published: float | None
    axis: tuple[float, float]
    """Its ends, the same in every row of a table; an interval beyond them is cut off."""
    tone: Tone = "open"
    power: bool = False
    """Whether numbers are powers of ten, and to be read as factors."""


Cell = str | Number | Link | Verdict | Effect


@dataclass(frozen=True)
class Heading:
    """A title; level 1 is the document's."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: Prose


@dataclass(frozen=True)
class Table:
    """A table; ``align`` has l or r for every column."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    align: str
    groups: Sequence[int] = ()
    """How many columns after the first belong together, where a narrow page has to part them."""
    by_last: bool = False
    """Whether the last column groups the rows, for formats that can show groups."""


@dataclass(frozen=True)
class Items:
    """A list with bullets, or numbered from 1: the notes that numbers point to."""

    items: Sequence[Prose]
    numbered: bool = False


@dataclass(frozen=True)
class Command:
    """A line for the user's shell, to be copied."""

    line: str


@dataclass(frozen=True)
class Figure:
    """A picture; ``path`` is relative to the document."""

    path: str
    alt: str
    svg: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Fold:
    """An appendix that is opened on demand; a terminal shows its summary only."""

    summary: str
    blocks: Sequence[Block]


Block = Heading | Paragraph | Table | Items | Command | Figure | Fold


@dataclass(frozen=True)
class Document:
    """One answer in all formats: blocks to read, the judged types for JSON, rows for CSV."""

    blocks: Sequence[Block]
    data: Any = field(default=None, repr=False)
    rows: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    columns: Sequence[str] = ()
    """The fields of a row, where there may be none."""

    @property
    def title(self) -> str:
        """The first heading of level 1."""
        found = (b.text for b in self.blocks if isinstance(b, Heading) and b.level == 1)
        return next(found, "")


def items_below(title: str, items: Sequence[Prose]) -> list[Block]:
    """Return a list below the sentence that introduces it; nothing where the list is empty."""
    return [Paragraph(title), Items(items)] if items else []


def plain(text: str) -> str:
    """Return text on one line, without anything that a terminal or a reader would act on."""
    return one_line(" ".join(text.split()))


def spaced(part: str, escape: Callable[[str], str]) -> str:
    """Escape a part of a text, and keep the blanks at its ends, which :func:`plain` takes."""
    before, after = " " * part.startswith(" "), " " * (part.endswith(" ") and len(part) > 1)
    return f"{before}{escape(part)}{after}"


def parts(text: Prose) -> Sequence[Part]:
    """Return the parts of a paragraph's text."""
    return (text,) if isinstance(text, str) else text


def words(text: Prose) -> str:
    """Return a paragraph's text without its links."""
    return "".join(part if isinstance(part, str) else part.text for part in parts(text))


def shown(cell: Cell) -> str:
    """Return what is read in a cell: the text, the sign of the verdict, raised note numbers."""
    if isinstance(cell, Number):
        raised = " ".join(str(n).translate(_RAISED) for n in cell.notes)
        return " ".join(filter(None, (cell.text, cell.mark, raised)))
    return cell if isinstance(cell, str) else cell.text


_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
