"""GitHub Markdown that shows every text of a document as it is, whatever characters are in it."""

from __future__ import annotations

import html
import re
from urllib.parse import quote

from tabulate import tabulate

from resbench.report import document as doc

# A bar would end the cell of a table even inside a code span.
_CODE = re.compile(r"((?<!`)`(?! )[^`|]+(?<! )`(?!`))")
# An underscore between letters or digits is never emphasis; names stay readable in the source.
_ACTIVE = re.compile(r"[\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINK = re.compile(r"(?i)\bwww(?=\.)|\b(?:https?|ftp|mailto|xmpp)(?=:)")
_START = re.compile(r"(?=[#+=-])|\d{1,9}(?=[.)])")


def render(document: doc.Document) -> str:
    """Return the blocks with a blank line between them."""
    return "\n\n".join(map(_block, document.blocks)) + "\n"


def escape(text: str) -> str:
    """Return Markdown that shows this very text on one line: no markup, HTML, link or formula.

    Only a pair of backticks keeps its meaning, for suites name options in their notes.
    """
    pieces = _CODE.split(doc.plain(text))
    pieces[::2] = [_LINK.sub(r"\g<0>\\", _ACTIVE.sub(r"\\\g<0>", piece)) for piece in pieces[::2]]
    return "".join(pieces)


def _block(block: doc.Block) -> str:
    match block:
        case doc.Heading(level, text):
            return f"{'#' * level} {_prose(text)}"
        case doc.Paragraph(text):
            return _prose(text)
        case doc.Items(items, numbered):
            marks = [f"{i}." if numbered else "-" for i in range(1, len(items) + 1)]
            pairs = zip(marks, items, strict=True)
            return "\n".join(f"{mark} {_prose(item)}" for mark, item in pairs)
        case doc.Command(line):
            fence = max(["```", *(f"{run}`" for run in re.findall("`+", line))], key=len)
            return f"{fence}console\n$ {doc.plain(line)}\n{fence}"
        case doc.Figure(path, alt):
            return f"![{escape(alt)}]({quote(path)})"
        case doc.Fold(summary, inner):
            # The blank lines let GitHub read Markdown inside the element.
            title = html.escape(doc.plain(summary), quote=False)
            text = render(doc.Document(inner))
            return f"<details>\n<summary>{title}</summary>\n\n{text}\n</details>"
        case doc.Table():
            return _table(block)


def _prose(text: doc.Prose) -> str:
    """Escape prose, and its start, where `-`, `#` or `1.` would begin a list or a heading."""
    escaped = "".join(_part(part) for part in doc.parts(text))
    match = _START.match(escaped)
    return escaped if match is None else f"{match[0]}\\{escaped[match.end() :]}"


def _part(part: doc.Part) -> str:
    match part:
        case doc.Link(text, target):
            return f"[{escape(text)}]({quote(target, safe=':/#?&=%')})"
        case doc.Strong(text):
            return f"**{escape(text)}**"
        case doc.Verdict(text):
            return escape(text)
        case str():
            return doc.spaced(part, escape)


def _table(table: doc.Table) -> str:
    rows = [list(map(_cell, row, table.align)) for row in table.rows]
    header = ["<br>".join(map(escape, title.split("\n"))) for title in table.header]
    sides = ["right" if align == "r" else "left" for align in table.align]
    return tabulate(rows, header, "pipe", colalign=sides, disable_numparse=True)


def _cell(cell: doc.Cell, align: str) -> str:
    """Escape a cell; a number stays whole, for `5.61 ± 0.12 (3)` on three lines cannot be read."""
    text = _part(cell) if isinstance(cell, doc.Link) else escape(doc.shown(cell))
    return text.replace(" ", "\u00a0") if align == "r" else text
