"""Everything that can be wrong with a suite before it is run."""

from __future__ import annotations

from dataclasses import replace

from resbench.analysis.declared import declared, published_errors
from resbench.analysis.names import SAME_SPLIT, SPLITS
from resbench.data.fit import check_fit
from resbench.models import FAMILIES
from resbench.suite.claims import ParsedClaim
from resbench.suite.connections import unmarked
from resbench.suite.expand import Expanded, expand, parsed_claims, published_values
from resbench.suite.load import load_suite, load_tier, tier_files
from resbench.suite.schema import Claim, Metric, Split, half_width
from resbench.suite.yaml import DocumentError, Problem

_USUAL: dict[Metric, Split] = {metric: split for split, metric in SAME_SPLIT.items()}
"""The split of a published error where its suite does not name one."""


def check_suite(name: str) -> dict[str, int]:
    """Load a suite and expand it as declared and under every tier; count what it holds.

    Raises:
        UsageError: every problem of the first step that has one.
    """
    loaded = load_suite(name)
    expanded = declared(loaded)
    check_fit(expanded.cells)
    if not loaded.suite.train:
        from resbench.analysis.values import counted_network  # and numpy, for counted tables alone

        for cell in (cell for cell in expanded.cells if cell.leaves):
            counted_network(loaded, cell)
    check_declared(expanded)
    file = loaded.document.path
    own = {c.spec.model.family for c in expanded.cells if c.spec is not None} - FAMILIES.keys()
    shipped = tier_files()
    for name, place in tier_files(file).items():
        tier = load_tier(name, file)
        # the shipped tiers cannot know a user's networks
        if place != shipped.get(name) or own <= tier[0].families.keys():
            check_fit(expand(loaded, replace(expanded.context, tier=name), tier).cells)
    suite = loaded.suite
    trained = [cell for cell in expanded.cells if cell.spec is not None]
    return {
        "cells": len(expanded.cells),
        "skipped": len(expanded.cells) - len(trained),
        "runs": len(trained) * len(expanded.seeds),
        "published": sum(value.value is not None for *_, value in published_values(suite)),
        "claims": len(suite.claims),
    }


def check_declared(expanded: Expanded) -> None:
    """Check marks and claims of a suite as its source declares it.

    Raises:
        DocumentError: a mark of no setting, or claims that no run of the suite can answer.
    """
    _check_options(expanded)
    _check_claims(expanded)


def _check_options(expanded: Expanded) -> None:
    """Check marks of the options of a user's own networks, which loading did not know."""
    loaded, specs = expanded.loaded, [cell.spec for cell in expanded.cells]
    if all(spec is None or spec.model.family in FAMILIES for spec in specs):
        return  # of a protocol whose own networks this suite replaces
    options = {".".join(path) for cell in expanded.cells for path in cell.leaves}
    problems = list[Problem]()
    for document in (loaded.document, loaded.protocol_document):
        marks = [found for found in unmarked(document.value) if found[0][-1] not in options]
        problems += document.error(marks).problems
    if problems:
        raise DocumentError(problems)


def _check_claims(expanded: Expanded) -> None:
    problems = []
    at, claims = expanded.loaded.document.at, expanded.loaded.suite.claims
    for i, (claim, parsed) in enumerate(zip(claims, parsed_claims(expanded), strict=True)):
        said = at(("claims", i, "claim"))
        for cell in (cell for cell in map(expanded.cell, parsed.cells) if cell.spec is None):
            text = f"the claim is about cell '{cell.id}', which is not run: {cell.skip}"
            problems.append(Problem(said, text))
        specs = (expanded.cell(name).spec for name in parsed.cells)
        if claim.metric == "val_in_train_err" and not all(
            spec is None or spec.training.val_in_train for spec in specs
        ):
            text = "no run measures val_in_train_err. Set training.val_in_train above 0."
            problems.append(Problem(at(("claims", i, "metric")), text))
        if (unlike := _unlike(expanded, claim, parsed)) is not None:
            problems.append(Problem(said, unlike))
        if (contradiction := _contradiction(expanded, claim, parsed)) is not None:
            problems.append(Problem(at(("claims", i, "published_pp")), contradiction))
    if problems:
        raise DocumentError(problems)


def _unlike(expanded: Expanded, claim: Claim, parsed: ParsedClaim) -> str | None:
    """Return which published errors of a claim are errors of different splits."""
    splits = dict[Split, str]()
    for cell, metric, published in published_values(expanded.loaded.suite):
        split = published.really or published.claims or _USUAL.get(metric, "unspecified")
        known = split not in ("unspecified", "unknown")
        if known and metric == claim.metric and cell in parsed.cells:
            splits.setdefault(split, cell)
    if len(splits) < 2:
        return None
    kinds = (f"{SPLITS[split]} ({cell})" for split, cell in splits.items())
    return f"the claim compares published errors of different splits: {', '.join(kinds)}"


def _contradiction(expanded: Expanded, claim: Claim, parsed: ParsedClaim) -> str | None:
    """Return how a stated difference differs from that of the published numbers; None if equal.

    Both are rounded, so they may differ by half a unit of each last digit.
    """
    published = published_errors(expanded, claim.metric)
    if claim.published_pp is None or not published.keys() >= set(parsed.cells):
        return None
    ends = (parsed.terms[0], parsed.terms[-1])
    first, last = (published[t[-1]][0] - sum(published[cell][0] for cell in t[:-1]) for t in ends)
    falls = parsed.operator in (">", "monotone_decreasing")
    difference = first - last if falls else last - first
    cells = [cell for term in ends for cell in term]
    rounding = half_width(claim.published_pp) + sum(published[cell][1] for cell in cells)
    if abs(difference - float(claim.published_pp)) <= rounding + 1e-9:
        return None
    stated = f"'published_pp' is {claim.published_pp}"
    return f"{stated}, and the cells differ by {difference:.4g}. Correct one of them."
