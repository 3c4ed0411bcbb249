"""A LaTeX document that compiles by itself, whatever characters are in it.

Its tables can be copied into a paper: booktabs rules, and columns of siunitx that align numbers at
their decimal points.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from resbench.report.document import (
    Block,
    Cell,
    Command,
    Document,
    Figure,
    Fold,
    Heading,
    Items,
    Link,
    Paragraph,
    Part,
    Prose,
    Strong,
    Table,
    parts,
    plain,
    shown,
    spaced,
)

PREAMBLE = r"""\documentclass[a4paper,landscape]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage[margin=15mm]{geometry}
\usepackage{amsmath,amssymb,array,booktabs,graphicx,siunitx}
\usepackage[hidelinks]{hyperref}
\sisetup{retain-explicit-plus}
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt}
\sloppy
% A table that is too wide for the page is made smaller.
\newsavebox{\widetable}
\newenvironment{fitted}{\begin{lrbox}{\widetable}}{\end{lrbox}\par
  \ifdim\wd\widetable>\linewidth\resizebox{\linewidth}{!}{\usebox{\widetable}}%
  \else\usebox{\widetable}\fi\par}
"""
HEADINGS = {1: "section*", 2: "subsection*", 3: "subsubsection*"}
"""Lower ones are bold lines."""
ROWS = 30
"""The most rows that a page has room for, with headings; longer tables are parted."""
WIDE = 34
"""Characters; a column with longer texts breaks them."""

_NUMBER = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?((?:[ ,].*)?)")
_CODE = re.compile(r"`([^`]+)`")
_ACTIVE = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}",
    "\u00a0": "~", "–": r"\textendash{}", "—": r"\textemdash{}", "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}", "“": r"\textquotedblleft{}", "”": r"\textquotedblright{}",
    "…": r"\ldots{}", "§": r"\S{}", "°": r"\textdegree{}", "ß": r"\ss{}", "ø": r"\o{}",
    "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
    "€": r"\texteuro{}", "·": r"\(\cdot\)", "±": r"\(\pm\)", "×": r"\(\times\)", "−": r"\(-\)",
    "≠": r"\(\neq\)", "≤": r"\(\leq\)", "≥": r"\(\geq\)", "≈": r"\(\approx\)",
    "→": r"\(\rightarrow\)", "↑": r"\(\uparrow\)", "↓": r"\(\downarrow\)",
    "✓": r"\(\checkmark\)", "○": r"\(\circ\)", "∞": r"\(\infty\)",
}  # fmt: skip
_LIGATURE = re.compile(r"([-,'])(?=\1)")
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u",
    "\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
    "\u0328": "k",
}  # fmt: skip
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True))


def render(document: Document) -> str:
    """Return a whole document; what is folded elsewhere is named and left out."""
    body = "\n\n".join(filter(None, map(_block, document.blocks)))
    return f"{PREAMBLE}\\begin{{document}}\n\n{body}\n\n\\end{{document}}\n"


def escape(text: str) -> str:
    """Return LaTeX that shows this very text on one line.

    A pair of backticks makes code, as in Markdown. A character that LaTeX's fonts lack is shown by
    its number, as ``U+4E2D``.
    """
    pieces = _CODE.split(plain(text))
    pieces[::2] = map(_text, pieces[::2])
    pieces[1::2] = map(_code, pieces[1::2])
    return "".join(pieces)


def _code(text: str) -> str:
    straight = _text(text).replace("'", r"\textquotesingle{}")
    return f"\\texttt{{{straight}}}"


def _text(text: str) -> str:
    # Two hyphens, commas or quotes would become one other sign.
    return _LIGATURE.sub(r"\1{}", "".join(map(_char, text)))


def _char(char: str) -> str:
    if char in _ACTIVE:
        return _ACTIVE[char]
    if char in _RAISED:
        return f"\\textsuperscript{{{_RAISED[char]}}}"
    if char.isascii():
        return char
    letter, *marks = list(unicodedata.normalize("NFD", char))
    if letter.isascii() and letter.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        return f"\\{_ACCENTS[marks[0]]}{{{letter}}}"
    return f"\\texttt{{U+{ord(char):04X}}}"


def _block(block: Block) -> str:
    match block:
        case Heading(level, text):
            name = HEADINGS.get(level)
            return (
                f"\\{name}{{{escape(text)}}}"
                if name
                else f"\\textbf{{{escape(text)}}}\\nopagebreak"
            )
        case Paragraph(text):
            return _prose(text)
        case Items(items, numbered):
            kind = "enumerate" if numbered else "itemize"
            lines = "\n".join(f"\\item {{}}{_prose(item)}" for item in items)
            return f"\\begin{{{kind}}}\n{lines}\n\\end{{{kind}}}" if items else ""
        case Command(line):
            return _code(f"$ {plain(line)}")
        case Figure(path, alt):
            return f"Figure: {escape(alt or path)}"
        case Fold(summary, _):
            return escape(f"{summary}: see `--format markdown` or `html`.")
        case Table():
            chunks = [block.rows[i : i + ROWS] for i in range(0, len(block.rows), ROWS)]
            return "\n\n".join(_table(block, rows) for rows in chunks or [()])


def _prose(text: Prose) -> str:
    return "".join(map(_part, parts(text)))


def _part(part: Part) -> str:
    match part:
        case Link(text, target):
            if not target.startswith(("https://", "http://")):
                return escape(text)  # a page next to the report; this one stands alone
            url = re.sub(r"([%#&])", r"\\\1", quote(target, safe=":/?#&=%"))
            return f"\\href{{{url}}}{{{escape(text)}}}"
        case Strong(text):
            return f"\\textbf{{{escape(text)}}}"
        case str():
            return spaced(part, escape)
        case _:
            return escape(part.text)


@dataclass(frozen=True)
class _Column:
    """How a column is declared; an aligned one takes numbers bare and all else in braces."""

    spec: str
    aligned: bool = False


def _table(table: Table, rows: Sequence[Sequence[Cell]]) -> str:
    columns = [
        _column([shown(row[i]) for row in table.rows], align) for i, align in enumerate(table.align)
    ]
    lines = [_line([_cell(*pair) for pair in zip(row, columns, strict=True)]) for row in rows]
    specs = " ".join(column.spec for column in columns)
    opened = [r"\begin{fitted}", f"\\begin{{tabular}}{{{specs}}}", r"\toprule"]
    closed = [r"\bottomrule", r"\end{tabular}", r"\end{fitted}"]
    return "\n".join([*opened, *_header(table, columns), r"\midrule", *lines, *closed])


def _column(texts: Sequence[str], align: str) -> _Column:
    if align != "r":
        wide = max(map(len, texts), default=0) > WIDE
        return _Column(r">{\raggedright\arraybackslash}p{60mm}" if wide else "l")
    found = [match for text in texts if (match := _NUMBER.fullmatch(text))]
    if not found:
        return _Column("r")
    sign = "+" if any(match[1] for match in found) else ""
    whole = max(len(match[2].replace(",", "")) for match in found)
    decimals = max(len(match[3] or "") for match in found)
    after = _after(max((match[4] for match in found), key=len))
    return _Column(f"S[table-format={sign}{whole}.{decimals}{after}]", aligned=True)


def _cell(cell: Cell, column: _Column) -> str:
    text = shown(cell)
    if not column.aligned:
        return _part(cell) if isinstance(cell, Link) else escape(text)
    match = _NUMBER.fullmatch(text)
    if match is None:
        return f"{{{escape(text)}}}"
    sign, whole, decimals, after = match.groups()
    number = f"{sign}{whole.replace(',', '')}" + (f".{decimals}" if decimals else "")
    return f"{number} {_after(after)}".rstrip()


def _after(text: str) -> str:
    """Return what stands behind an aligned number: spread, number of runs, signs, notes."""
    return f"{{\\,{escape(text.strip())}}}" if text else ""


def _header(table: Table, columns: Sequence[_Column]) -> list[str]:
    """Return the lines of a header; where a title stands above several columns, it spans them."""
    titles = [title.split("\n") for title in table.header]
    depth = max(map(len, titles))
    lines = [
        [_title(text, column) for text, column in zip(row, columns, strict=True)]
        for row in zip(*([""] * (depth - len(title)) + title for title in titles), strict=True)
    ]
    rules, start = [], 1
    removed = set[int]()
    for size in table.groups if depth == 2 else ():
        first, *others = titles[start : start + size]
        if others and len(first) == 2 and all(len(title) == 1 for title in others):
            lines[0][start] = f"\\multicolumn{{{size}}}{{c}}{{{escape(first[0])}}}"
            removed |= {*range(start + 1, start + size)}
            rules.append(f"\\cmidrule(lr){{{start + 1}-{start + size}}}")
        start += size
    lines[0] = [text for i, text in enumerate(lines[0]) if i not in removed]
    top, *rest = map(_line, lines)
    return [top, *rules, *rest]


def _title(text: str, column: _Column) -> str:
    return f"{{{escape(text)}}}" if column.aligned else escape(text)


def _line(cells: Sequence[str]) -> str:
    line = " & ".join(cells) + r" \\"
    return f"{{}}{line}" if line.startswith(("[", "*")) else line  # options of the line end before
