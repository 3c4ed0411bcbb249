"""Everything that can be wrong with a suite before it is run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from resbench.report.contrast import contrast_of
from resbench.report.declared import declared
from resbench.report.power import printed_errors
from resbench.suite.catalog import load_suite, load_tier, tier_files
from resbench.suite.claims import ParsedClaim
from resbench.suite.document import DocumentError, Problem
from resbench.suite.expand import Expanded, expand, parsed_claims
from resbench.suite.schema import Claim, half_width


def check_suite(name: str) -> dict[str, Any]:
    """Load a suite and expand it as declared and under every tier; count what it holds.

    Raises:
        UsageError: every problem of the first step that has one.
    """
    loaded = load_suite(name)
    expanded = declared(loaded)
    _check_claims(expanded)
    file = loaded.document.path
    for tier in tier_files(file):
        expand(loaded, replace(expanded.context, tier=tier), load_tier(tier, file))
    suite = loaded.suite
    trained = [cell for cell in expanded.cells if cell.spec is not None]
    return {
        "file": str(loaded.document.path),
        "cells": len(expanded.cells),
        "skipped": len(expanded.cells) - len(trained),
        "seeds": list(expanded.seeds),
        "runs": len({cell.at_seed(seed).key for cell in trained for seed in expanded.seeds}),
        "printed": sum(p.value is not None for row in suite.printed.values() for p in row.values()),
        "claims": len(suite.claims),
    }


def _check_claims(expanded: Expanded) -> None:
    problems = []
    for i, parsed in enumerate(parsed_claims(expanded)):
        at = expanded.loaded.document.at
        try:
            contrast_of(parsed)
        except ValueError as error:
            problems.append(Problem(at(("claims", i, "claim")), str(error)))
        if (text := _contradiction(expanded, expanded.loaded.suite.claims[i], parsed)) is not None:
            problems.append(Problem(at(("claims", i, "printed_pp")), text))
    if problems:
        raise DocumentError(problems)


def _contradiction(expanded: Expanded, claim: Claim, parsed: ParsedClaim) -> str | None:
    """Say how a stated difference differs from that of the printed cells; None if it does not.

    Both are rounded, so that half their last places may lie between them.
    """
    printed = printed_errors(expanded, claim.metric)
    if claim.printed_pp is None or not printed.keys() >= set(parsed.cells):
        return None
    ends = [
        printed[term.cells[0]][0] - sum(printed[cell][0] for cell in term.cells[1:])
        for term in (parsed.terms[0], parsed.terms[-1])
    ]
    difference = ends[0] - ends[1] if parsed.operator == ">" else ends[1] - ends[0]
    cells = [cell for term in (parsed.terms[0], parsed.terms[-1]) for cell in term.cells]
    rounding = half_width(claim.printed_pp) + sum(printed[cell][1] for cell in cells)
    if abs(difference - float(claim.printed_pp)) <= rounding + 1e-9:
        return None
    return f"'printed_pp' is {claim.printed_pp}, and the printed cells differ by {difference:.4g}"
