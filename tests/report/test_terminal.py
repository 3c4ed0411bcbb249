from __future__ import annotations

import pytest

from resbench.report.document import (
    Block,
    Command,
    Document,
    Fold,
    Heading,
    Items,
    Link,
    Paragraph,
    Table,
)  # fmt: skip
from resbench.report.render.terminal import render

WIDE = Table(
    ("network", "ARL\npublished", "ours", "NAL\npublished", "ours"),
    (("Attention-56", "5.52", "5.61 ± 0.12 (3), 1 diverged", "5.89", "5.93 ± 0.15 (2/3)"),),
    "lrrrr",
    (2, 2),
)


def terminal(*blocks: Block, width: int = 80) -> str:
    return render(Document(blocks), width)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_number_is_cut_or_wrapped_at_any_width_that_holds_a_group(width: int) -> None:
    text = terminal(WIDE, width=width)
    assert max(map(len, text.splitlines())) <= width
    if width >= 60:
        for cell in WIDE.rows[0]:
            assert str(cell) in text
    assert "…" not in text


def test_a_narrow_terminal_parts_a_table_between_groups_and_repeats_the_first_column() -> None:
    assert terminal(WIDE, width=60).count("Attention-56") == 2
    assert terminal(WIDE, width=120).count("Attention-56") == 1


def test_the_name_of_a_row_is_never_broken() -> None:
    name, words = "table6_arl_vs_nal_report", "words that may be wrapped wherever a blank is"
    assert name in terminal(Table(("suite", "setting", "claims"), ((name, words, words),), "lll"))


def test_text_is_never_taken_for_markup_and_escape_sequences_do_not_reach_the_terminal() -> None:
    evil = "\x1b]0;title\x07\x1b[31mred\u202e [red]x[/red]"
    text = terminal(Heading(1, evil), Paragraph(evil), Items((evil,)), Command(evil),
                    Fold(evil, ()), Table((evil,), ((evil,),), "l"), width=200)  # fmt: skip
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert text.count(r"\x1b[31mred\u202e [red]x[/red]") == 7


def test_a_link_shows_its_text_and_an_appendix_its_summary_only() -> None:
    hidden = Fold("Runs (3)", (Paragraph("hidden"),))
    text = terminal(Paragraph(("see ", Link("page", "page.md"), ".")), hidden)
    assert "see page." in text
    assert "Runs (3)" in text
    assert "hidden" not in text


def test_no_line_ends_in_blanks() -> None:
    text = terminal(Heading(1, "a"), Items(("b",)), WIDE)
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
