"""The small language of claims."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resbench.suite.claims import ParsedClaim, parse_claim

CELLS = ("attention-56/arl", "attention-56/nal", "resnet-164/err")


@pytest.mark.parametrize(
    ("text", "operator", "terms"),
    [
        ("error(a)<error( b )", "<", [("a",), ("b",)]),
        ("error(a) > error(b)", ">", [("a",), ("b",)]),
        ("error(a) ~ error(b)", "~", [("a",), ("b",)]),
        ("error(a) < error(b) < error(c)", "monotone_increasing", [("a",), ("b",), ("c",)]),
        ("error(a) > error(b) > error(c)", "monotone_decreasing", [("a",), ("b",), ("c",)]),
        ("gap(a,b) < gap(c, d)", "gap_grows", [("b", "a"), ("d", "c")]),
        ("gap(a, b) > gap(c, d)", "gap_grows", [("d", "c"), ("b", "a")]),
    ],
)
def test_every_form_of_claim_has_the_test_that_decides_it(
    text: str, operator: str, terms: list[tuple[str, ...]]
) -> None:
    parsed = parse_claim(text, "abcd")
    assert (parsed.operator, [*parsed.terms]) == (operator, terms)


def test_a_claim_names_each_cell_once() -> None:
    assert ParsedClaim("gap_grows", (("a", "b"), ("a", "c"))).cells == ("a", "b", "c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("error(a)", "must relate its terms by one of <, > and ~"),
        ("error(a) < error(b) > error(c)", "must relate its terms by one of"),
        ("error(a) < error(a)", "compares something with itself"),
        ("gap(a, a) < gap(b, a)", "with itself"),
        ("error(a) < 3", "'3' is not error(CELL) or gap(CELL, CELL)"),
        ("error(a) < gap(a, b)", "mixes error()"),
        ("gap(a) < error(b)", "gap() takes two"),
        ("error(a, b) < error(c)", "error() takes one"),
        ("error(a) ~ error(b) ~ error(c)", "'~' compares two error() terms"),
        ("gap(a, b) ~ gap(c, d)", "'~' compares two error() terms"),
        ("", "must relate"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        parse_claim(text, "abcd")
    assert message in str(error.value)


def test_an_unknown_cell_gets_the_one_that_was_meant() -> None:
    with pytest.raises(ValueError, match=r"unknown cell .* Did you mean 'attention-56/arl'\?"):
        parse_claim("error(attention-56/ar) < error(attention-56/nal)", CELLS)


cell = st.sampled_from(CELLS)
term = st.one_of(
    cell.map(lambda name: f"error({name})"),
    st.tuples(cell, cell).map(lambda pair: f"gap({pair[0]}, {pair[1]})"),
)
written = st.lists(st.one_of(term, st.sampled_from("<>~"), st.text(max_size=5)), max_size=6)


@given(pieces=written)
def test_any_text_is_a_claim_about_known_cells_or_is_refused(pieces: list[str]) -> None:
    try:
        parsed = parse_claim(" ".join(pieces), CELLS)
    except ValueError:
        return
    assert len(parsed.terms) >= 2
    assert set(parsed.cells) <= set(CELLS)
    assert len({len(term) for term in parsed.terms}) == 1
