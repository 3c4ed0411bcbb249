"""What the claims of a suite can detect at the planned seeds, before anything is trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from resbench.analysis.declared import as_declared
from resbench.analysis.results import all_measured
from resbench.data.fit import test_images
from resbench.stats.contrasts import steps_of
from resbench.stats.multiplicity import ALPHA
from resbench.stats.power import detectable, first_look, per_test_power
from resbench.stats.spread import USUAL_SD_PP, sampling_sd
from resbench.store.records import RunRecord
from resbench.suite.claims import ParsedClaim
from resbench.suite.expand import Expanded, parsed_claims
from resbench.suite.schema import Claim, Metric

Runs = Mapping[str, Sequence[RunRecord]]
"""Finished runs by cell id."""

OWN_DF = 4
"""A claim's own cells give its sd once they have this many degrees of freedom, as 2 x 3 runs do."""


@dataclass(frozen=True)
class Spread:
    """The sd of one cell's errors between seeds, in percentage points."""

    sd_pp: float
    source: str
    """Where the number comes from, a phrase."""
    measured: bool


@dataclass(frozen=True)
class Power:
    """What one claim's test can see; percentage points."""

    claim: Claim
    seeds: int
    """Planned, per arm."""
    spread: Spread
    published_pp: float | None
    """The published effect as the test sees it: of a chain its smallest step; None if unknown."""
    sought_pp: float | None
    """The effect to plan for: the published one, of an equivalence its margin."""
    detectable_pp: float
    """The smallest true effect found with power 0.8 where Holm asks most, at alpha divided by the
    number of the suite's claims; of a chain in each step, infinite if none."""
    seeds_needed: int | None
    """The look that finds the sought effect with power 0.8 where Holm asks most; None if unknown
    or if no look does."""


def claim_powers(expanded: Expanded, runs: Runs) -> tuple[Power, ...]:
    """Return what each claim of a suite can detect at its planned seeds.

    The sd is measured in ``runs`` of this setting where a cell has two of them, else assumed. A
    claim about a cell that this setting does not train is left out.
    """
    claims = expanded.loaded.suite.claims
    sizes = Counter(claim.ours for claim in claims)  # claims of ours are a family of their own
    pairs = zip(claims, parsed_claims(expanded), strict=True)
    return tuple(
        _power(expanded, claim, parsed, runs, sizes[claim.ours])
        for claim, parsed in pairs
        if all(expanded.cell(cell).spec is not None for cell in parsed.cells)
    )


def published_steps(
    expanded: Expanded, claim: Claim, parsed: ParsedClaim
) -> tuple[float, ...] | None:
    """Return a claim's effect in the published numbers, positive as claimed, in points.

    One number for each contrast that the claim's test looks at: of a chain every step, of a gap its
    rise. None where a cell has no published number of the claim's metric and the claim states no
    difference either.
    """
    errors = published_errors(expanded, claim.metric)
    published = {name: value for name, (value, _) in errors.items()}
    steps = steps_of(parsed)
    if published.keys() >= set(parsed.cells):
        return tuple(
            sum(w * published[name] for w, name in zip(step.weights, step.arms, strict=True))
            for step in steps
        )
    if claim.published_pp is None or len(steps) > 1:
        return None  # of a chain, only the whole range may be stated
    return (float(claim.published_pp),)


def _power(expanded: Expanded, claim: Claim, parsed: ParsedClaim, runs: Runs, claims: int) -> Power:
    steps = steps_of(parsed)
    seeds, spread = len(expanded.seeds), _spread(expanded, claim, parsed, runs)
    sd = spread.sd_pp * math.hypot(*steps[0].weights)
    published = min(published_steps(expanded, claim, parsed) or (), default=None)
    # All tests of a claim must reject: the steps of a chain, the two of an equivalence.
    tests = len(steps) if claim.margin_pp is None else 2
    sought = published if claim.margin_pp is None else float(claim.margin_pp)

    arms, strictest = len(steps[0].arms), ALPHA / claims
    power = per_test_power(tests)
    return Power(
        claim,
        seeds,
        spread,
        published,
        sought,
        detectable(seeds, sd, arms, alpha=strictest, power=power),
        first_look(sought or 0.0, sd, arms, alpha=strictest, tests=tests),
    )


def _spread(expanded: Expanded, claim: Claim, parsed: ParsedClaim, runs: Runs) -> Spread:
    for cells, whose in ((parsed.cells, "the claim's cells"), (runs, "this table's cells")):
        sd, df = _pooled(all_measured(runs.get(cell, ()), claim.metric) for cell in cells)
        if sd > 0 and df >= (OWN_DF if cells is parsed.cells else 1):
            return Spread(sd, f"measured, {df + _groups(cells, runs)} runs of {whose}", True)
    if as_declared(expanded.context):
        return Spread(USUAL_SD_PP, "assumed, the usual sd at the paper's schedule", False)
    images = _test_images(expanded, parsed)
    reason = f"assumed, the most that chance flips of {images:,} test images give"
    return Spread(sampling_sd(50.0, images), reason, False)


def _groups(cells: Iterable[str], runs: Runs) -> int:
    return sum(len(runs.get(cell, ())) > 1 for cell in cells)


def _pooled(cells: Iterable[Sequence[float]]) -> tuple[float, int]:
    """Return the sd within cells, pooled, and its degrees of freedom."""
    squares, df = 0.0, 0
    for values in cells:
        if len(values) > 1:
            mean = math.fsum(values) / len(values)
            squares += math.fsum((value - mean) ** 2 for value in values)
            df += len(values) - 1
    return (math.sqrt(squares / df) if df else 0.0), df


def _test_images(expanded: Expanded, parsed: ParsedClaim) -> int:
    specs = (expanded.cell(cell).spec for cell in parsed.cells)
    return min((test_images(spec.data) for spec in specs if spec is not None), default=10_000)


def published_errors(expanded: Expanded, metric: Metric) -> dict[str, tuple[float, float]]:
    """Return the published numbers of this metric by cell, with half a unit of the last digit."""
    suite = expanded.loaded.suite
    return {
        expanded.cell_of(row, name).id: (float(published.value), published.half_width)
        for row, columns in suite.published.items()
        for name, published in columns.items()
        if published.value is not None
        and (published.metric or suite.table.columns[name].metric) == metric
    }
