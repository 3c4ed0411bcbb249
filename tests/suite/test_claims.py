"""The small language of claims."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resbench.suite.claims import ParsedClaim, Term, parse_claim

CELLS = ("attention-56/arl", "attention-56/nal", "resnet-164/err")


def test_an_inequality_names_its_cells() -> None:
    parsed = parse_claim("error(attention-56/arl)<error( attention-56/nal )", CELLS)
    terms = (Term("error", ("attention-56/arl",)), Term("error", ("attention-56/nal",)))
    assert parsed == ParsedClaim("<", terms)
    assert parsed.cells == CELLS[:2]


def test_a_chain_orders_its_terms_and_names_each_cell_once() -> None:
    a, b, c = CELLS
    parsed = parse_claim(f"gap({a}, {b}) > gap({b}, {c})", CELLS)
    assert (parsed.operator, len(parsed.terms), parsed.cells) == (">", 2, CELLS)


def test_a_gap_is_a_difference_of_two_cells() -> None:
    gap = f"gap({CELLS[0]}, {CELLS[1]})"
    parsed = parse_claim(f"{gap} ~ gap({CELLS[1]},{CELLS[0]})", CELLS)
    assert parsed.terms == (Term("gap", CELLS[:2]), Term("gap", CELLS[1::-1]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("error(attention-56/arl)", "needs one kind of operator among <, > and ~"),
        (
            "error(attention-56/arl) < error(attention-56/nal) > error(resnet-164/err)",
            "needs one kind",
        ),
        ("error(resnet-164/err) < error(resnet-164/err)", "compares something with itself"),
        (
            "gap(resnet-164/err, resnet-164/err) < gap(attention-56/arl, resnet-164/err)",
            "with itself",
        ),
        ("error(attention-56/arl) < 3", "'3' is not error(CELL) or gap(CELL, CELL)"),
        ("error(attention-56/arl) < gap(attention-56/arl, resnet-164/err)", "mixes error()"),
        ("gap(attention-56/arl) < error(attention-56/nal)", "gap() takes two"),
        (
            "error(attention-56/arl, resnet-164/err) < error(attention-56/nal)",
            "error() takes one",
        ),
        (
            "error(attention-56/ar) < error(attention-56/nal)",
            "Did you mean 'attention-56/arl'?",
        ),
        (
            "error(attention-56/arl) ~ error(attention-56/nal) ~ error(resnet-164/err)",
            "'~' compares exactly two",
        ),
        ("", "needs one kind"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        parse_claim(text, CELLS)
    assert message in str(error.value)


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
    assert len({term.kind for term in parsed.terms}) == 1
