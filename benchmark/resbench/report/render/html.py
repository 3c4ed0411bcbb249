"""One self-contained page that loads nothing and needs no JavaScript; light, dark, paper, phone.

Markup is in `page.html.j2`, which escapes everything; here is only what a template cannot do.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from resbench.report import document as doc
from resbench.report.render import column_groups
from resbench.report.text import factor
from resbench.words import one_line

_HERE = Path(__file__).parent
_CODE = re.compile(r"(?<!`)`(?! )([^`]+)(?<! )`(?!`)")
_TONES = {"✓": "for", "=": "for", "↑": "against", "≠": "against"}


def render(document: doc.Document) -> str:
    """Return the page, with the document's data inside for programs."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else one_line(value),
    )
    numbers = count(1)
    environment.globals |= {
        "kind": lambda value: type(value).__name__,
        "number": lambda: next(numbers),
        "parts": doc.parts,
        "shown": doc.shown,
        "coded": _coded,
        "href": _href,
        "titles": _titles,
        "notes_at": _notes_at,
        "tone": lambda mark: _TONES.get(mark, "open"),
        "place": _place,
        "amount": _amount,
        "axis": _axis,
        "is_forest": lambda table: any(_axis(table, i) for i in range(len(table.header))),
        "grouped": _grouped,
        "drawn": lambda figure: _drawn(figure, next(numbers)),
        "anchor": partial(_anchor, used=set()),
    }
    style, script = ((_HERE / name).read_text() for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        document=document,
        sections=_sections(document),
        style=Markup(style),
        script=Markup(script),
        digest=digest,
        data=_embedded(document.data),
    )


def _embedded(data: Any) -> Markup:
    """Return JSON that cannot end the element it is in or start another."""
    text = json.dumps(msgspec.json.decode(msgspec.json.encode(data)), separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _coded(text: str) -> Markup:
    """Escape text; a pair of backticks marks code, as it does in Markdown."""
    pieces = _CODE.split(one_line(text.replace("\n", " ")))
    pieces[1::2] = [f"<code>{escape(piece)}</code>" for piece in pieces[1::2]]
    pieces[::2] = [str(escape(piece)) for piece in pieces[::2]]
    return Markup("".join(pieces))


def _href(target: str) -> str:
    """Return a link's target; a scheme that could run code is dropped."""
    scheme = re.match(r"\s*([^/?#]*):", target)
    return target if scheme is None or scheme[1].lower() in ("http", "https") else "#"


def _anchor(text: str, used: set[str]) -> str:
    """Return a name for a heading that none has yet, from the text before a colon."""
    base = re.sub(r"[^a-z0-9_]+", "-", doc.plain(text).partition(":")[0].lower()).strip("-")
    names = (f"{base}-{i}" if i else base or "part" for i in count())
    name = next(name for name in names if name not in used)
    used.add(name)
    return name


def _notes_at(blocks: Sequence[doc.Block], at: int) -> str:
    """Return what tells the notes of a table, or this list of notes, from those of other tables.

    They are below the table and before the next one; where there are none, the first are meant.
    """
    if not isinstance(blocks[at], doc.Table | doc.Items):
        return ""
    lists = [i for i, b in enumerate(blocks) if isinstance(b, doc.Items) and b.numbered]
    later = (i for i, b in enumerate(blocks) if i > at and isinstance(b, doc.Heading))
    end = next(later, len(blocks))
    own = next((n for n, i in enumerate(lists) if at <= i < end), 0)
    return f"-{own + 1}" if own else ""


def _grouped(table: doc.Table) -> tuple[doc.Table, list[tuple[str, list[Sequence[doc.Cell]]]]]:
    """Return a table without the column that groups its rows, and the rows of each group."""
    if not table.by_last:
        return table, [("", list(table.rows))]
    groups: dict[str, list[Sequence[doc.Cell]]] = {}
    for row in table.rows:
        groups.setdefault(doc.shown(row[-1]), []).append(row[:-1])
    sizes = (*table.groups[:-1], table.groups[-1] - 1)
    kept = replace(table, header=table.header[:-1], align=table.align[:-1], groups=sizes)
    return kept, list(groups.items())


def _titles(table: doc.Table) -> tuple[list[tuple[str, int]], list[tuple[str, str]], set[int]]:
    """Return titles above groups of columns, every column's own, and where a group begins.

    Those above come with the size of their group, the others in two lines.
    """
    above, own, starts = [("", 1)], list(table.header), set[int]()
    for group in column_groups(table):
        title, _, rest = own[group[0]].partition("\n")
        named = len(group) > 1 and rest and not any("\n" in own[i] for i in group[1:])
        above.append((title if named else "", len(group)))
        if named:
            own[group[0]] = rest
        starts.add(group[0])
    lines = [(line, rest.replace("\n", " ")) for line, _, rest in (t.partition("\n") for t in own)]
    return (
        above if any(title for title, _ in above) else [],
        lines,
        starts if any(size > 1 for _, size in above) else set(),
    )


def _axis(table: doc.Table, column: int) -> list[tuple[float, str]]:
    """Return the labels of the axis above a column of effects, each with its place in percent."""
    found = (row[column] for row in table.rows)
    effect = next((cell for cell in found if isinstance(cell, doc.Effect)), None)
    if effect is None:
        return []
    zero = _place(effect, 0.0) / 2
    low, high = effect.axis
    ends = ((0.0, low), (100.0, high))
    far = [
        (place, f"×{factor(end)}" if effect.power else f"{end:+.3g}")
        for place, end in ends
        if abs(place - zero) > 35
    ]
    return sorted([(zero, "×1" if effect.power else "0"), *far])


def _amount(effect: doc.Effect, value: float) -> str:
    """Return an effect with its unit."""
    return f"×{factor(value)}" if effect.power else f"{value:+.2f} pp"


def _place(effect: doc.Effect, value: float) -> float:
    """Return where a value is, 0 to 200 from end to end of the axis."""
    low, high = effect.axis
    return round(200 * (min(max(value, low), high) - low) / (high - low), 1)


def _drawn(figure: doc.Figure, number: int) -> Markup:
    """Return a figure's SVG with names of its own, for all figures of a page share one space.

    All have one scale, so that their letters are of one size: 9 inches fill the width.
    """
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>f{number}-", figure.svg.decode())
    head = re.search(r'<svg [^>]*?(viewBox="\S+ \S+ (\S+) [^"]*")[^>]*>', svg)
    if head is None:
        return Markup("")
    label = f'role="img" aria-label="{escape(doc.plain(figure.alt))}"'
    width = f'style="--width: {60 * float(head[2]) / (9 * 72):.4g}rem"'
    return Markup(f"<svg {label} {head[1]} {width}>{svg[head.end() :]}")


def _sections(document: doc.Document) -> list[tuple[str, str, list[doc.Block]]]:
    """Return name, title and blocks of the page's start and of every heading of level 2."""
    used = set[str]()
    found = [("", document.title, list[doc.Block]())]
    for block in document.blocks:
        if isinstance(block, doc.Heading) and block.level == 2:
            found.append((_anchor(block.text, used), block.text, []))
        found[-1][-1].append(block)
    return found
