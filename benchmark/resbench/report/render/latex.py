"""A LaTeX document that compiles by itself, whatever characters are in it.

Its tables can be copied into a paper: booktabs rules, and columns of siunitx that align numbers at
their decimal points.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import quote

from resbench.report import document as doc
from resbench.report.render import column_groups

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
HEADINGS = {1: r"\section*{%s}", 2: r"\subsection*{%s}", 3: r"\subsubsection*{%s}"}
LOWER = r"\textbf{%s}\nopagebreak"
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


def render(document: doc.Document) -> str:
    """Return a whole document; what is folded elsewhere is named and left out."""
    body = "\n\n".join(filter(None, map(_block, document.blocks)))
    return f"{PREAMBLE}\\begin{{document}}\n\n{body}\n\n\\end{{document}}\n"


def escape(text: str) -> str:
    """Return LaTeX that shows this very text on one line.

    A pair of backticks makes code, as in Markdown. A character that LaTeX's fonts lack is shown by
    its number, as ``U+4E2D``.
    """
    pieces = _CODE.split(doc.plain(text))
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


def _block(block: doc.Block) -> str:
    match block:
        case doc.Heading(level, text):
            return HEADINGS.get(level, LOWER) % escape(text)
        case doc.Paragraph(text):
            return _prose(text)
        case doc.Items(items, numbered):
            kind = "enumerate" if numbered else "itemize"
            lines = "\n".join(f"\\item {{}}{_prose(item)}" for item in items)
            return f"\\begin{{{kind}}}\n{lines}\n\\end{{{kind}}}" if items else ""
        case doc.Command(line):
            return _code(f"$ {doc.plain(line)}")
        case doc.Figure(path, alt):
            return f"Figure: {escape(alt or path)}"
        case doc.Fold(summary, _):
            return escape(f"{summary}: see `--format markdown` or `html`.")
        case doc.Table():
            chunks = [block.rows[i : i + ROWS] for i in range(0, len(block.rows), ROWS)]
            return "\n\n".join(_table(block, rows) for rows in chunks or [()])


def _prose(text: doc.Prose) -> str:
    return "".join(map(_part, doc.parts(text)))


def _part(part: doc.Part) -> str:
    match part:
        case doc.Link(text, target):
            if not target.startswith(("https://", "http://")):
                return escape(text)  # a page next to the report; this one stands alone
            url = re.sub(r"([%#&])", r"\\\1", quote(target, safe=":/?#&=%"))
            return f"\\href{{{url}}}{{{escape(text)}}}"
        case doc.Strong(text):
            return f"\\textbf{{{escape(text)}}}"
        case str():
            return doc.spaced(part, escape)
        case _:
            return escape(part.text)


def _table(table: doc.Table, rows: Sequence[Sequence[doc.Cell]]) -> str:
    specs = [
        _column([doc.shown(row[i]) for row in table.rows], align)
        for i, align in enumerate(table.align)
    ]
    lines = [_line([_cell(*pair) for pair in zip(row, specs, strict=True)]) for row in rows]
    opened = [r"\begin{fitted}", f"\\begin{{tabular}}{{{' '.join(specs)}}}", r"\toprule"]
    closed = [r"\bottomrule", r"\end{tabular}", r"\end{fitted}"]
    return "\n".join([*opened, *_header(table, specs), r"\midrule", *lines, *closed])


def _column(texts: Sequence[str], align: str) -> str:
    """Return how a column is declared; one of numbers aligns them at their decimal points."""
    if align != "r":
        wide = max(map(len, texts), default=0) > WIDE
        return r">{\raggedright\arraybackslash}p{60mm}" if wide else "l"
    found = [match for text in texts if (match := _NUMBER.fullmatch(text))]
    if not found:
        return "r"
    sign = "+" if any(match[1] for match in found) else ""
    whole = max(len(match[2].replace(",", "")) for match in found)
    decimals = max(len(match[3] or "") for match in found)
    after = _after(max((match[4] for match in found), key=len))
    return f"S[table-format={sign}{whole}.{decimals}{after}]"


def _cell(cell: doc.Cell, spec: str) -> str:
    if isinstance(cell, doc.Link) and not spec.startswith("S"):
        return _part(cell)
    match = _NUMBER.fullmatch(doc.shown(cell)) if spec.startswith("S") else None
    if match is None:
        return _words(doc.shown(cell), spec)
    sign, whole, decimals, after = match.groups()
    number = f"{sign}{whole.replace(',', '')}" + (f".{decimals}" if decimals else "")
    return f"{number} {_after(after)}".rstrip()


def _words(text: str, spec: str) -> str:
    """Return text for a column; one of aligned numbers takes all else in braces."""
    return f"{{{escape(text)}}}" if spec.startswith("S") else escape(text)


def _after(text: str) -> str:
    """Return what stands behind an aligned number: spread, number of runs, signs, notes."""
    return f"{{\\,{escape(text.strip())}}}" if text else ""


def _header(table: doc.Table, specs: Sequence[str]) -> list[str]:
    """Return the lines of a header; where a title stands above several columns, it spans them."""
    titles = [title.split("\n") for title in table.header]
    depth = max(map(len, titles))
    lines = [
        list(map(_words, row, specs))
        for row in zip(*([""] * (depth - len(title)) + title for title in titles), strict=True)
    ]
    rules = list[str]()
    for group in reversed(column_groups(table)) if depth == 2 else ():  # so that places stay
        first, *others = (titles[i] for i in group)
        if others and len(first) == 2 and all(len(title) == 1 for title in others):
            above = f"\\multicolumn{{{len(group)}}}{{c}}{{{escape(first[0])}}}"
            lines[0][group.start : group.stop] = [above]
            rules.insert(0, f"\\cmidrule(lr){{{group.start + 1}-{group.stop}}}")
    top, *rest = map(_line, lines)
    return [top, *rules, *rest]


def _line(cells: Sequence[str]) -> str:
    line = " & ".join(cells) + r" \\"
    return f"{{}}{line}" if line.startswith(("[", "*")) else line  # options of the line end before
