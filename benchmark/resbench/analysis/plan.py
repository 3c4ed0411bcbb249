"""A plan before anything is trained: the time that runs need, and what claims can detect."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import variance
from typing import Literal

from resbench.analysis.declared import as_declared, keeps_to_source, ledgers_of, published_steps
from resbench.analysis.results import all_measured, error_images
from resbench.stats.contrasts import steps_of
from resbench.stats.multiplicity import ALPHA, seeds_in_order
from resbench.stats.power import detectable, first_look, per_test_power
from resbench.stats.spread import USUAL_SD_PP, moderated, sampling_sd
from resbench.store.records import RunRecord
from resbench.suite.claims import ParsedClaim
from resbench.suite.expand import Expanded, parsed_claims
from resbench.suite.schema import SIGNAL_METRICS, Claim

Runs = Mapping[str, Sequence[RunRecord]]
"""Finished runs by cell id."""

OWN_DF = 4
"""A claim's own cells give its sd once they have this many degrees of freedom, as 2 x 3 runs do."""


@dataclass(frozen=True)
class PlannedTime:
    """One run of a plan; a run that serves several cells counts once."""

    cells: tuple[tuple[str, str], ...]
    """(suite, cell)."""
    seed: int
    record: RunRecord | None
    epochs: int
    """Epochs that an unfinished run has behind it."""
    left_s: float
    """Expected seconds that are left on one worker."""
    measured: bool = False
    """Whether they follow from the speed of such runs, not from the network's size alone."""
    bought: Literal["whole", "part"] | None = None
    """How much of it the budget is enough for, if there is one."""


def buy(runs: Sequence[PlannedTime], workers: int, budget_s: float) -> list[PlannedTime]:
    """Hand the runs to the workers in order, each until it ends or the time does."""
    free_at, found = [0.0] * workers, list[PlannedTime]()
    for run in runs:
        bought: Literal["whole", "part"] | None = None
        if run.record is None:
            start, end = free_at[0], free_at[0] + run.left_s
            bought = "whole" if end <= budget_s else "part" if start < budget_s else None
            heapq.heapreplace(free_at, end)
        found.append(replace(run, bought=bought))
    return found


def total_s(runs: Iterable[PlannedTime], workers: int = 1) -> float:
    """Return the time that runs have left on all workers together."""
    left = [run.left_s for run in runs]
    # The last run of a plan leaves the other workers idle, so the longest one is a bound as well.
    return max([math.fsum(left) / workers, *left])


@dataclass(frozen=True)
class Spread:
    """The sd of one cell's errors between seeds, in percentage points."""

    sd_pp: float
    """Infinite while it is unknown."""
    source: str
    """Where the number comes from, a phrase."""
    measured: bool


@dataclass(frozen=True)
class Power:
    """What one claim's test can see; percentage points."""

    claim: Claim
    seeds: int
    """Planned or recorded per arm, as looks take them: none after one that is neither."""
    family: int
    """Claims that it is corrected for: those of the sources, or those of ours."""
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


def claim_powers(
    expanded: Expanded, runs: Runs, recorded: Container[str] = ()
) -> tuple[Power, ...]:
    """Return what each claim of a suite can detect at its planned seeds.

    ``recorded`` are the keys of finished runs, also of seeds that are not planned now.

    The sd is measured in ``runs`` of this setting where a cell has two of them; else it is assumed,
    that of sizes unknown. A claim about a cell that this setting does not train is left out.
    """
    claims = expanded.loaded.suite.claims
    sizes = Counter(claim.ours for claim in claims)  # claims of ours are a family of their own
    pairs = zip(claims, parsed_claims(expanded), strict=True)
    usual = as_declared(expanded.context) and keeps_to_source(ledgers_of(expanded))
    return tuple(
        _power(
            expanded,
            claim,
            parsed,
            _spread(expanded, claim, parsed, runs, usual=usual),
            recorded,
            sizes[claim.ours],
        )
        for claim, parsed in pairs
        if all(expanded.cell(cell).spec is not None for cell in parsed.cells)
    )


def _power(
    expanded: Expanded, claim: Claim, parsed: ParsedClaim, spread: Spread,
    recorded: Container[str], claims: int,
) -> Power:  # fmt: skip
    steps = steps_of(parsed)
    seeds = _seeds(expanded, parsed, recorded)
    weights = steps[0].weights
    sd = spread.sd_pp * math.hypot(*weights)
    published = min(published_steps(expanded, claim, parsed), default=None)
    # All tests of a claim must reject: the steps of a chain, the two of an equivalence.
    tests = len(steps) if claim.margin_pp is None else 2
    sought = published if claim.margin_pp is None else float(claim.margin_pp)
    strictest = ALPHA / claims
    return Power(
        claim,
        seeds,
        claims,
        spread,
        published,
        sought,
        detectable(seeds, sd, weights, alpha=strictest, power=per_test_power(tests)),
        first_look(sought or 0.0, sd, weights, alpha=strictest, tests=tests),
    )


def _seeds(expanded: Expanded, parsed: ParsedClaim, recorded: Container[str]) -> int:
    """Return how many seeds every arm of a claim will have, up to the first that one lacks."""
    cells = [expanded.cell(cell) for cell in parsed.cells]
    there = itertools.takewhile(
        lambda seed: (
            seed in expanded.seeds or all(cell.at_seed(seed).key in recorded for cell in cells)
        ),
        seeds_in_order(expanded.declared_seeds),
    )
    return len(list(there))


def _spread(
    expanded: Expanded, claim: Claim, parsed: ParsedClaim, runs: Runs, *, usual: bool
) -> Spread:
    """Return the sd of a run, measured or assumed.

    One that is measured is raised towards the assumed one as the test raises that of an arm: two
    runs may be close by luck, and would promise that any difference is found.
    """
    assumed = _assumed(expanded, claim, parsed, usual=usual)
    own, every = (parsed.cells, "the claim's cells", OWN_DF), (runs, "this table's cells", 1)
    for cells, whose, enough in (own, every):
        measured = (all_measured(runs.get(cell, ()), claim.metric).values() for cell in cells)
        groups = [errors for errors in measured if len(errors) > 1]
        n = sum(map(len, groups))
        df, squares = n - len(groups), math.fsum((len(g) - 1) * variance(g) for g in groups)
        if squares > 0 and df >= enough:
            found, source = squares / df, f"measured on {whose}"
            if assumed.sd_pp**2 > found and math.isfinite(assumed.sd_pp):
                found, _ = moderated(found, df + 1, assumed.sd_pp**2)
                source += ", raised because so few runs may be alike by luck"
            return Spread(math.sqrt(found), source, True)
    return assumed


def _assumed(expanded: Expanded, claim: Claim, parsed: ParsedClaim, *, usual: bool) -> Spread:
    """Return the sd of a run before any is measured: the ``usual`` one of a source's schedule."""
    if claim.metric in SIGNAL_METRICS:
        return Spread(math.inf, "unknown before two runs of a cell measure it", False)
    if usual:
        return Spread(USUAL_SD_PP, "assumed, the usual sd at the paper's schedule", False)
    images = min(
        error_images(
            claim.metric,
            train=spec.data.train_size,
            test=spec.data.test_size,
            val_in_train=spec.training.val_in_train,
        )
        for cell in parsed.cells
        if (spec := expanded.cell(cell).spec) is not None
    )
    kinds = {"train_top1_err": "training", "val_in_train_err": "validation"}
    which = kinds.get(claim.metric, "test")
    reason = f"assumed, what chance alone gives on {images:,} {which} images; seeds may spread more"
    return Spread(sampling_sd(50.0, images), reason, False)
