"""LaTeX that compiles, aligns numbers and shows every character as text."""

from __future__ import annotations

import re
import shutil
import string
import subprocess
from pathlib import Path

import pytest

from resbench.report.document import (
    Block,
    Command,
    Document,
    Figure,
    Fold,
    Heading,
    Items,
    Link,
    Number,
    Paragraph,
    Strong,
    Table,
    Verdict,
)  # fmt: skip
from resbench.report.render import render
from resbench.report.render.latex import ROWS, escape

HOSTILE = (
    string.printable,
    r"\input{/etc/passwd} \end{document} ^^5c $x_1^2$ 50% of #1 & ~more~",
    "[0pt] * after the end of a line",
    "été naïve Ångström Łódź ğ ő ∂ 中文 🙂 e\u0301 \u0301 \u202e reversed",
    "-- --- ,, '' `` `a_b` <<x>> ?` !`",
    "",
)  # fmt: skip


def document() -> Document:
    """Every kind of block and of cell, with hostile texts wherever there is one."""
    cells = tuple(
        (text, Number(text, 1.0, mark="≠", notes=(1, 12)), Link(text, f"https://a.org/{text}"))
        for text in HOSTILE
    )
    numbers = (("a", Number("5.60 ± 0.28 (2/5), 1 diverged"), Link("b", "page.md")),)
    blocks: list[Block] = []
    for text in HOSTILE:
        blocks += [Heading(level, text) for level in (1, 2, 3, 4)]
        link = Link(text, "https://a.b/%7E#x")
        blocks.append(Paragraph((text, Strong(text), Verdict(text), link)))
        blocks += [Items((text, text), numbered=True), Command(text), Figure(text, text)]
        blocks += [Fold(text, ()), Table((text, f"{text}\nunder", text), cells, "lrl", (2,))]
    blocks += [Items(()), Table(("x", "y\nz", "w"), cells + numbers, "lrl", (2,))]
    return Document(tuple(blocks))


def table_of(*rows: tuple[str, ...], header: tuple[str, ...] = ("name", "value")) -> list[str]:
    block = Table(header, tuple((a, *map(Number, rest)) for a, *rest in rows), "l" + "r" * (
        len(header) - 1), (len(header) - 1,))  # fmt: skip
    text = render(Document((block,)), "latex")
    found = re.search(r"\\begin{tabular}.*?\\end{tabular}", text, re.S)
    assert found is not None
    return found[0].splitlines()


def test_a_document_of_hostile_texts_compiles(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("NOT CHECKED: no pdflatex here, so nobody knows whether the LaTeX compiles")
    styles = ["booktabs.sty", "siunitx.sty", "amssymb.sty"]
    found = subprocess.run(["kpsewhich", *styles], capture_output=True, text=True).stdout
    if len(found.splitlines()) < len(styles):
        pytest.skip(f"NOT CHECKED: TeX is here, but without one of {', '.join(styles)}")
    (tmp_path / "report.tex").write_text(render(document(), "latex"), encoding="utf-8")
    command = ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-draftmode"]
    done = subprocess.run(
        [*command, "report.tex"], cwd=tmp_path, capture_output=True, text=True, errors="replace"
    )
    errors = re.findall(r"^! .*(?:\n.*){3}", done.stdout, re.M)
    assert (done.returncode, errors) == (0, [])
    assert "Missing character" not in (tmp_path / "report.log").read_text(errors="replace")


def test_numbers_are_aligned_and_all_else_stands_in_braces() -> None:
    lines = table_of(
        ("A", "5.60 ± 0.28 (2/5), 1 diverged"), ("B", "15.6 (1/5)"), ("C", "not run"), ("D", ""),
        ("E", "1,030,362"), ("F", "1/9"),
    )  # fmt: skip
    assert lines[0] == (r"\begin{tabular}{l S[table-format=7.2{\,\(\pm\) 0.28 (2/5), 1 diverged}]}")
    assert lines[2:-2] == [
        r"name & {value} \\", r"\midrule",
        r"A & 5.60 {\,\(\pm\) 0.28 (2/5), 1 diverged} \\", r"B & 15.6 {\,(1/5)} \\",
        r"C & {not run} \\", r"D & {} \\", r"E & 1030362 \\", r"F & {1/9} \\",
    ]  # fmt: skip
    signed = table_of(("A", "+0.37"), ("B", "-12.1"))
    assert signed[0] == r"\begin{tabular}{l S[table-format=+2.2]}"
    assert table_of(("A", "not run"))[0] == r"\begin{tabular}{l r}"


def test_a_title_above_several_columns_spans_them() -> None:
    header = ("name", "ARL\npublished", "measured", "difference")
    lines = table_of(("A", "1.0", "2.0", "+1.0"), header=header)
    assert lines[2:5] == [
        r" & \multicolumn{3}{c}{ARL} \\", r"\cmidrule(lr){2-4}",
        r"name & {published} & {measured} & {difference} \\",
    ]  # fmt: skip
    apart = table_of(("A", "1.0", "2.0"), header=("name", "published\npp", "measured\npp"))
    assert apart[2:4] == [r" & {published} & {measured} \\", r"name & {pp} & {pp} \\"]


def test_a_character_is_text_or_its_number_and_never_a_command() -> None:
    assert escape(r"\a_{b}^c~#1 50% $x$ & <|>") == (
        r"\textbackslash{}a\_\{b\}\textasciicircum{}c\textasciitilde{}\#1 50\% \$x\$ \& "
        r"\textless{}\textbar{}\textgreater{}"
    )
    accents = r"\'{e} \c{c} \r{A} \texttt{U+4E2D} \(\neq\) \textsuperscript{4}"
    assert escape("é ç Å 中 ≠ ⁴") == accents
    code = r"-{}-x \texttt{-{}-set a\_b=\textquotesingle{}c\textquotesingle{}}"
    assert escape("--x `--set a_b='c'`") == code


def test_a_long_table_is_parted_with_its_header_on_each_part() -> None:
    rows = tuple((f"row {i}",) for i in range(2 * ROWS + 1))
    text = render(Document((Table(("title",), rows, "l"),)), "latex")
    assert text.count(r"\toprule") == text.count(r"title \\") == 3
    assert [text.count(rf"row {i} \\") for i in range(len(rows))] == [1] * len(rows)
