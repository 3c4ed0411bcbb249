"""The small language of claims: an inequality over the cells of one table."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, cast

from resbench.errors import did_you_mean

Operator = Literal["<", ">", "~", "monotone_decreasing", "monotone_increasing", "gap_grows"]
"""The test that decides a claim."""

_TERM = re.compile(r"(error|gap)\(\s*([^(),]+?)\s*(?:,\s*([^(),]+?)\s*)?\)")


@dataclass(frozen=True)
class ParsedClaim:
    """A claim as the test that decides it takes it."""

    operator: Operator
    terms: tuple[tuple[str, ...], ...]
    """A cell each; of ``gap_grows`` a pair (a, b) each, the gap error(b) - error(a)."""

    @property
    def cells(self) -> tuple[str, ...]:
        """Every cell that the claim names, each once."""
        return tuple(dict.fromkeys(cell for term in self.terms for cell in term))


def parse_claim(text: str, cells: Collection[str]) -> ParsedClaim:
    """Parse ``error(a/x) < error(a/y)`` and its chains; ``cells`` are the allowed cell ids.

    Raises:
        ValueError: one sentence that says what is wrong.
    """
    parts = re.split(r"\s*([<>~])\s*", text.strip())
    operators = set(parts[1::2])
    if len(operators) != 1 or "=" in text:
        raise ValueError(f"the claim '{text}' must relate its terms by one of <, > and ~")
    terms = [_term(part, cells) for part in parts[0::2]]
    if len({len(term) for term in terms}) != 1:
        raise ValueError(f"the claim '{text}' mixes error() and gap()")
    if len({*terms}) != len(terms) or any(len({*term}) != len(term) for term in terms):
        raise ValueError(f"the claim '{text}' compares something with itself")
    operator, are_gaps = operators.pop(), len(terms[0]) == 2
    if operator == "~" and (are_gaps or len(terms) != 2):
        raise ValueError(f"the claim '{text}': '~' compares two error() terms, use < or >")
    if are_gaps:
        # gap(a, b) is error(a) - error(b); the test looks at error(second) - error(first).
        growing = terms if operator == "<" else terms[::-1]
        return ParsedClaim("gap_grows", tuple((b, a) for a, b in growing))
    if len(terms) > 2:
        operator = "monotone_increasing" if operator == "<" else "monotone_decreasing"
    return ParsedClaim(cast(Operator, operator), tuple(terms))


def _term(text: str, cells: Collection[str]) -> tuple[str, ...]:
    match = _TERM.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not error(CELL) or gap(CELL, CELL)")
    names = tuple(name for name in match.groups()[1:] if name)
    if len(names) != (1 if match[1] == "error" else 2):
        raise ValueError(f"'{text}': error() takes one cell and gap() takes two")
    for name in names:
        if name not in cells:
            raise ValueError(f"'{text}': unknown cell '{name}'.{did_you_mean(name, cells)}")
    return names
