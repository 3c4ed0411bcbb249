from __future__ import annotations

import pytest

from resbench.report.document import Block, Command, Fold, Heading, Items, Link, Paragraph, Table
from resbench.report.render.terminal import terminal

WIDE = Table(
    ("network", "ARL\npublished", "ours", "NAL\npublished", "ours"),
    (("Attention-56", "5.52", "5.61 ± 0.12 (3), 1 diverged", "5.89", "5.93 ± 0.15 (2/3)"),),
    "lrrrr",
    (2, 2),
)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_number_is_cut_or_wrapped_at_any_width_that_holds_a_group(width: int) -> None:
    text = terminal([WIDE], width)
    assert max(map(len, text.splitlines())) <= width
    if width >= 60:
        for cell in WIDE.rows[0]:
            assert str(cell) in text
    assert "…" not in text


def test_a_narrow_terminal_parts_a_table_between_groups_and_repeats_the_first_column() -> None:
    assert terminal([WIDE], 60).count("Attention-56") == 2
    assert terminal([WIDE], 120).count("Attention-56") == 1


@pytest.mark.parametrize(
    "block",
    [
        Heading(2, "[red]x[/red]"),
        Paragraph("[red]x[/red]"),
        Items(("[red]x[/red]",)),
        Command("[red]x[/red]"),
        Fold("[red]x[/red]", ()),
        Table(("[red]x[/red]",), (("y",),), "l"),
        Table(("y",), (("[red]x[/red]",),), "l"),
    ],
    ids=lambda block: type(block).__name__,
)
def test_text_is_never_taken_for_markup(block: Block) -> None:
    assert "[red]x[/red]" in terminal([block], 80)


def test_escape_sequences_in_text_do_not_reach_the_terminal() -> None:
    evil = "\x1b]0;title\x07\x1b[31mred\u202e"
    blocks: list[Block] = [Heading(1, evil), Paragraph(evil), Items((evil,)), Command(evil),
                           Fold(evil, ()), Table((evil,), ((evil,),), "l")]  # fmt: skip
    text = terminal(blocks, 80)
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert text.count("\\x1b[31mred") == 7


def test_an_appendix_shows_its_summary_only() -> None:
    text = terminal([Fold("Runs (3)", (Paragraph("hidden"),))], 80)
    assert "Runs (3)" in text
    assert "hidden" not in text


def test_a_link_shows_its_text() -> None:
    assert "see page." in terminal([Paragraph(("see ", Link("page", "page.md"), "."))], 80)


def test_no_line_ends_in_blanks() -> None:
    text = terminal([Heading(1, "a"), Items(("b",)), WIDE], 80)
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
