"""A suite as its source declares it, and how near to that a run comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from resbench.datasets import DATA_SETS
from resbench.errors import UsageError
from resbench.stats.contrasts import steps_of
from resbench.suite.claims import ParsedClaim
from resbench.suite.expand import (
    Context,
    DataChoice,
    Expanded,
    data_names,
    expand,
    published_values,
)
from resbench.suite.load import PAPER, Loaded
from resbench.suite.provenance import Entry, ledger
from resbench.suite.schedule import resolve
from resbench.suite.schema import Claim, Metric, half_width
from resbench.suite.spec import RunSpec


def declared(loaded: Loaded) -> Expanded:
    """Expand the suite as declared; engine and precision are the plain ones."""
    data = {name: published_choice(name) for name in data_names(loaded)}
    return expand(loaded, Context("eager", "fp32", data))


def published_choice(name: str) -> DataChoice:
    """Return the data set that published numbers are about, on this machine or not."""
    known = DATA_SETS[name]
    return DataChoice(name, name, known.id)


def as_declared(context: Context) -> bool:
    """Whether the context leaves the suite's own settings alone: the paper tier."""
    return context.tier == PAPER.name and not context.overrides


def as_published(context: Context) -> bool:
    """Whether the source's own conditions hold: settings as declared, on the published data."""
    return as_declared(context) and all(choice.published for choice in context.data.values())


def ledgers_of(expanded: Expanded) -> Mapping[str, list[Entry]]:
    """Return where every setting of each cell comes from, by cell id."""
    return {cell.id: ledger(expanded, cell) for cell in expanded.cells}


def departures(entries: Iterable[Entry]) -> list[Entry]:
    """Return the settings of suite and protocol that depart from the source."""
    return [entry for entry in entries if entry.origin == "deviation" and entry.of_suite]


def keeps_to_source(ledgers: Mapping[str, list[Entry]]) -> bool:
    """Whether the suite leaves its source's settings alone, at least in one trained cell."""
    trained = [entries for entries in ledgers.values() if entries]
    return not trained or any(not departures(entries) for entries in trained)


def images_seen(spec: RunSpec) -> int:
    """Return the images that a run trains on in all, epoch after epoch; 0 where none can be."""
    try:
        return resolve(spec).total * spec.training.batch_size
    except UsageError:  # of a run that failed for it, and whose folder is still there
        return 0


def published_errors(expanded: Expanded, metric: Metric) -> dict[str, tuple[float, float]]:
    """Return the published numbers of this metric by cell, with half a unit of the last digit."""
    return {
        cell: (float(published.value), half_width(published.value))
        for cell, own, published in published_values(expanded.loaded.suite)
        if published.value is not None and own == metric
    }


def published_steps(expanded: Expanded, claim: Claim, parsed: ParsedClaim) -> tuple[float, ...]:
    """Return a claim's effect in the published numbers, positive as claimed, in points.

    One number for each contrast that the claim's test looks at: of a chain every step, of a gap its
    rise. Nothing where a cell has no published number of the claim's metric and the claim states no
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
    if claim.published_pp is None or len(steps) > 1 or len(parsed.terms) > 3:
        return ()  # stated is the difference of the ends: no step's, nor a line's through four gaps
    return (float(claim.published_pp),)
