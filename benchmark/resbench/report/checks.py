"""Everything that can be wrong with a suite before it is run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from resbench.report.contrast import contrast_of
from resbench.report.declared import declared
from resbench.suite.catalog import load_suite, load_tier, suite_folder
from resbench.suite.document import DocumentError, Problem
from resbench.suite.expand import Expanded, expand, parsed_claims


def check_suite(name: str) -> dict[str, Any]:
    """Load a suite and expand it as declared and under every shipped tier; count what it holds.

    Raises:
        UsageError: every problem of the first step that has one.
    """
    loaded = load_suite(name)
    expanded = declared(loaded)
    _check_claims(expanded)
    for tier in (path.stem for path in sorted((suite_folder() / "tiers").glob("*.yaml"))):
        expand(loaded, replace(expanded.context, tier=tier), load_tier(tier))
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
        try:
            contrast_of(parsed)
        except ValueError as error:
            at = expanded.loaded.document.at(("claims", i, "claim"))
            problems.append(Problem(at, str(error)))
    if problems:
        raise DocumentError(problems)
