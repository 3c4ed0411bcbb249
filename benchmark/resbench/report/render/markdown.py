"""GitHub Markdown that says what the blocks say, whatever characters are in them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tabulate import tabulate

from resbench.report.document import Block, Command, Folded, Grid, Heading, Items, Text, plain

_ALIGN = {"l": "left", "r": "right"}
# A bar would end the cell of a table even inside a code span.
_CODE = re.compile(r"((?<!`)`(?! )[^`|]+(?<! )`(?!`))")
# An underscore between letters or digits is never emphasis; names stay readable in the source.
_ACTIVE = re.compile(r"[\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINK = re.compile(r"(?i)\bwww(?=\.)|\b(?:https?|ftp|mailto|xmpp)(?=:)")
_START = re.compile(r"(?=[#+=-])|\d{1,9}(?=[.)])")


def escape(text: str) -> str:
    """Return Markdown that shows this very text on one line: no markup, HTML, link or formula.

    Only a pair of backticks keeps its meaning, for suites name options in their notes.
    """
    parts = _CODE.split(plain(text))
    parts[::2] = [_LINK.sub(r"\g<0>\\", _ACTIVE.sub(r"\\\g<0>", part)) for part in parts[::2]]
    return "".join(parts)


def at_start(text: str) -> str:
    """Escape text that begins a block, where `-`, `#` or `1.` would begin a list or a heading."""
    escaped = escape(text)
    match = _START.match(escaped)
    return escaped if match is None else f"{match[0]}\\{escaped[match.end() :]}"


def markdown(blocks: Iterable[Block]) -> str:
    """Return the blocks with a blank line between them."""
    return "\n\n".join(_block(block) for block in blocks) + "\n"


def _block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {at_start(text)}"
        case Text(text):
            return at_start(text)
        case Items(items, numbered):
            marks = [f"{i}." if numbered else "-" for i in range(1, len(items) + 1)]
            pairs = zip(marks, items, strict=True)
            return "\n".join(f"{mark} {at_start(item)}" for mark, item in pairs)
        case Command(line):
            return _fenced(line)
        case Folded(summary, inner):
            # The blank lines let GitHub read Markdown inside the element.
            body = markdown(inner)
            return f"<details>\n<summary>{_html(summary)}</summary>\n\n{body}\n</details>"
        case Grid(header, rows, align, _):
            return tabulate(
                [[_cell(cell, a) for cell, a in zip(row, align, strict=True)] for row in rows],
                ["<br>".join(map(escape, title.split("\n"))) for title in header],
                tablefmt="pipe",
                colalign=[_ALIGN[a] for a in align] if rows else None,
                disable_numparse=True,
            )


def _cell(text: str, align: str) -> str:
    """Escape a cell; a number stays whole, for `5.61 ± 0.12 (3)` on three lines cannot be read."""
    return escape(text).replace(" ", "\u00a0") if align == "r" else escape(text)


def _fenced(line: str) -> str:
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}console\n$ {plain(line)}\n{fence}"


def _html(text: str) -> str:
    return plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
