"""From the language of claims to the test that decides one. No numpy: `validate` asks this too."""

from __future__ import annotations

from resbench.stats.steps import Operator
from resbench.suite.claims import ParsedClaim


def contrast_of(parsed: ParsedClaim) -> tuple[Operator, list[tuple[str, ...]]]:
    """Return the test that decides a claim and its cells, a pair per ``gap()``.

    Raises:
        ValueError: a claim that no test here decides.
    """
    rises, cells = parsed.operator == "<", [term.cells for term in parsed.terms]
    if parsed.terms[0].kind == "gap":
        if parsed.operator == "~":
            raise ValueError("'~' compares two error() terms; gaps are compared with < or >")
        # gap(a, b) is error(a) - error(b); the test looks at error(second) - error(first).
        ordered = cells if rises else cells[::-1]
        return "gap_grows", [(b, a) for a, b in ordered]
    if len(cells) == 2:
        return parsed.operator, cells
    return ("monotone_increasing" if rises else "monotone_decreasing"), cells
