"""The small language of claims: an inequality over the cells of one table."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from resbench.errors import did_you_mean

Operator = Literal["<", ">", "~"]
_TERM = re.compile(r"(error|gap)\(\s*([^(),]+?)\s*(?:,\s*([^(),]+?)\s*)?\)")


@dataclass(frozen=True)
class Term:
    """``error(cell)``, or ``gap(a, b)`` = error(a) - error(b)."""

    kind: Literal["error", "gap"]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class ParsedClaim:
    """Terms in the order written, all neighbours related by one operator."""

    operator: Operator
    terms: tuple[Term, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """Every cell that the claim speaks of, each once, in the order written."""
        return tuple(dict.fromkeys(cell for term in self.terms for cell in term.cells))


def parse_claim(text: str, cells: Collection[str]) -> ParsedClaim:
    """Parse ``error(a/x) < error(a/y)`` and its chains; ``cells`` are the allowed cell ids.

    Raises:
        ValueError: one sentence that says what is wrong.
    """
    parts = re.split(r"\s*([<>~])\s*", text.strip())
    operators = set(parts[1::2])
    if len(operators) != 1 or "=" in text:
        raise ValueError(
            f"the claim '{text}' needs one kind of operator among <, > and ~ between its terms"
        )
    terms = tuple(_term(part, cells) for part in parts[0::2])
    if len({term.kind for term in terms}) != 1:
        raise ValueError(f"the claim '{text}' mixes error() and gap()")
    if len(set(terms)) != len(terms) or any(len({*t.cells}) != len(t.cells) for t in terms):
        raise ValueError(f"the claim '{text}' compares something with itself")
    operator: Operator = operators.pop()  # type: ignore[assignment]
    if operator == "~" and len(terms) != 2:
        raise ValueError(f"the claim '{text}': '~' compares exactly two terms")
    return ParsedClaim(operator, terms)


def _term(text: str, cells: Collection[str]) -> Term:
    match = _TERM.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not error(CELL) or gap(CELL, CELL)")
    kind, *names = match.group(1), *(name for name in match.groups()[1:] if name)
    if len(names) != (1 if kind == "error" else 2):
        raise ValueError(f"'{text}': error() takes one cell and gap() takes two")
    for name in names:
        if name not in cells:
            raise ValueError(f"'{text}' names no cell of this suite.{did_you_mean(name, cells)}")
    return Term("error" if kind == "error" else "gap", tuple(names))
