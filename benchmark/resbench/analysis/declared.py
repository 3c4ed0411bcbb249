"""A suite as its source declares it, and how near to that a run comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from resbench.data.fit import train_images
from resbench.datasets import DATA_SETS
from resbench.errors import UsageError
from resbench.suite.expand import Context, DataChoice, Expanded, data_names, expand
from resbench.suite.load import PAPER, Loaded
from resbench.suite.provenance import Entry, ledger
from resbench.suite.schedule import resolve
from resbench.suite.spec import RunSpec


def declared(loaded: Loaded) -> Expanded:
    """Expand the suite as declared; engine and precision are the plain ones."""
    data = {name: published(name) for name in data_names(loaded)}
    return expand(loaded, Context("eager", "fp32", data))


def published(name: str) -> DataChoice:
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
    layers = ("protocol", "suite", "matrix")
    found = (entry for entry in entries if entry.origin == "deviation")
    return [entry for entry in found if entry.layer.split()[0] in layers]


def keeps_to_source(ledgers: Mapping[str, list[Entry]]) -> bool:
    """Whether the suite leaves its source's settings alone, at least in one trained cell."""
    trained = [entries for entries in ledgers.values() if entries]
    return not trained or any(not departures(entries) for entries in trained)


def images_seen(spec: RunSpec) -> int:
    """Return the images that a run trains on in all, epoch after epoch; 0 where none can be."""
    try:
        return resolve(spec, train_images(spec.data)).total * spec.training.batch_size
    except UsageError:  # of a run that failed for it, and whose folder is still there
        return 0
