from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from resbench.report.document import (
    Block,
    Command,
    Document,
    Fold,
    Heading,
    Items,
    Link,
    Number,
    Paragraph,
    Strong,
    Table,
    plain,
)  # fmt: skip
from resbench.report.render.markdown import escape, render

HOSTILE = [
    "<script>alert(1)</script>",
    "</td></tr></table><img src=x onerror=alert(1)>",
    "a | b || c \\| d \\\\| e \\",
    "**bold** _it_ __b__ *x* ~~gone~~ snake_case_name",
    "[text](http://evil) ![i](x) <http://evil> https://evil www.evil.org mailto:a@b.c",
    "&lt; &amp; &#60; &copy;",
    "`code` ``two`` `a|b` ` left` unpaired ` tick",
    "$x^2$ $$y$$",
    "<!-- comment --> <details> <br>",
    "# no heading",
    "- no item",
    "+ no item",
    "1. no item",
    "1) no item",
    "=== ---",
    "> no quote",
    "line\none\r\ntwo\u2028three\x0bfour",
    "\x1b[31mred\x1b[0m \x07 \x00",
    "\u202eright to left \u200b\u2066",
    "   leading and trailing   ",
]
TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from([*"\\`*_[]<>|~$&#+-=!.):1a ", "http:", "www.", "<b>", "&lt;", "``"]),
    max_size=20,
).map("".join)


def markdown(*blocks: Block) -> str:
    return render(Document(blocks))


def parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def shown(token: Token) -> str:
    """The text that a reader sees; any markup but a code span is a failure."""
    parts = []
    for child in token.children or []:
        assert child.type in {"text", "text_special", "code_inline"}, child
        parts.append(child.content)
    return "".join(parts)


def meant(text: str) -> str:
    """What a text says: itself, on one line, a code span without its backticks."""
    return re.sub(r"(?<!`)`(?! )([^`|]+)(?<! )`(?!`)", r"\1", plain(text))


def inline_texts(block: Block) -> list[str]:
    return [shown(token) for token in parse(markdown(block)) if token.type == "inline"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_does_nothing(text: str) -> None:
    items = Items((text, text)), Items((text,), numbered=True)
    for block in (Heading(2, text), Paragraph(text), *items):
        assert set(inline_texts(block)) == {meant(text)}
    assert not re.search(r"https?:|www\.|mailto:", escape(text))


@given(text=TEXTS)
def test_any_text_is_shown_as_it_is_in_a_paragraph(text: str) -> None:
    expected = [meant(text)] if meant(text) else []
    assert inline_texts(Paragraph(text)) == expected


@given(rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), title=TEXTS.map(plain))
def test_any_text_stays_in_its_own_cell_of_a_table(rows: list[tuple[str, str]], title: str) -> None:
    grid = Table((title, "b"), tuple(rows), "lr")
    tokens = [token for token in parse(markdown(grid)) if token.type == "inline"]
    found = [shown(token).replace("\xa0", " ") for token in tokens]
    assert found == [meant(title), "b", *(meant(cell) for row in rows for cell in row)]


def test_a_cell_shows_its_number_its_verdict_and_its_notes_on_one_line() -> None:
    cell = Number("5.61 ± 0.12 (3)", 5.61, mark="✓", notes=(1, 12))
    header, rule, row = markdown(
        Table(("two words", "one <b>\npublished"), (("a b", cell),), "lr")
    ).splitlines()
    assert "one \\<b\\><br>published" in header
    assert re.fullmatch(r"\|:-+\|-+:\|", rule)
    assert re.fullmatch(r"\| a b +\| +5.61\xa0±\xa00.12\xa0\(3\)\xa0✓\xa0¹\xa0¹² \|", row)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_link_or_strong_text_says_its_text_and_leads_where_it_says(text: str) -> None:
    if not plain(text):
        return
    parts = ("see ", Link(text, "a b(1).md"), " and ", Strong(text), ".")
    tokens = parse(markdown(Paragraph(parts)))
    (inline,) = [token for token in tokens if token.type == "inline"]
    opened = [child for child in inline.children or [] if child.type == "link_open"]
    assert [child.attrs["href"] for child in opened] == ["a%20b%281%29.md"]
    found = "".join(child.content for child in inline.children or [])
    assert found == f"see {meant(text)} and {meant(text)}."
    kinds = [child.type for child in inline.children or []]
    assert (kinds.count("strong_open"), kinds[-2:]) == (1, ["strong_close", "text"])


@pytest.mark.parametrize("line", ["resbench run x", "a ``` b", "a\n```\n# b", "````"])
def test_a_command_cannot_leave_its_code_block(line: str) -> None:
    (token,) = parse(markdown(Command(line)))
    assert token.type == "fence"
    assert token.content == f"$ {plain(line)}\n"


def test_a_folded_appendix_is_markdown_inside_an_element_that_hostile_text_cannot_close() -> None:
    text = markdown(Fold("</summary><b>", (Items(("x",)),)))
    assert text.startswith("<details>\n<summary>&lt;/summary&gt;&lt;b&gt;</summary>\n\n- x\n\n</d")
