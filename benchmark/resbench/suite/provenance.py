"""The protocol ledger: where each hyperparameter of a run comes from, and why it has its value.

The last layer that set a value decides. A protocol and a suite mark what they set: the entry of
their ``provenance`` with the longest path that covers it counts, a level's before the suite's. The
axes of a matrix are the table's own variables and come from its first source. Tier and command line
always deviate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resbench.suite.expand import Cell, Expanded, Leaf, Path_
from resbench.suite.load import PAPER, Loaded
from resbench.suite.schema import Mark, Origin
from resbench.suite.spec import RunSpec, dotted

UNMARKED = "set here without saying where it comes from"
"""Reason of a value that no ``provenance`` covers; shipped suites have none."""


@dataclass(frozen=True)
class Entry:
    """One hyperparameter of a run."""

    path: str
    """Dotted path in the run specification."""
    value: Any
    origin: Origin
    place: str
    reason: str | None
    layer: str
    """What set it: ``protocol NAME``, ``suite``, ``matrix AXIS``, ``tier NAME``, ..."""

    @property
    def of_suite(self) -> bool:
        """Whether the suite or its protocol set it."""
        return self.layer.split()[0] in ("protocol", "suite", "matrix")


def ledger(expanded: Expanded, cell: Cell) -> list[Entry]:
    """Return an entry for every leaf of a cell's specification; none for a skipped cell."""
    if cell.spec is None:
        return []
    entries = []
    for name, value in dotted(cell.spec.canonical()):
        path = tuple(name.split("."))
        if leaf := cell.leaves.get(path):
            mark, layer = _mark(expanded, cell, path, leaf), leaf.layer
        else:
            mark, layer = _context_mark(expanded, path, cell.spec), "context"
        entries.append(Entry(name, value, mark.origin, mark.place, mark.reason, layer))
    return entries


def _mark(expanded: Expanded, cell: Cell, path: Path_, leaf: Leaf) -> Mark:
    """Return the mark of what a file or the command line sets."""
    loaded = expanded.loaded
    matrix = loaded.suite.matrix
    own = (_covering(matrix[axis][name].provenance, path) for axis, name in cell.levels.items())
    mark = next(filter(None, own), None)
    match leaf.layer.split()[0]:
        case "protocol" | "suite" | "matrix" if mark:
            return mark
        case "protocol" if loaded.protocol.source not in {s.key for s in loaded.suite.sources}:
            mark = _deviation(
                leaf.layer, f"a protocol of {loaded.protocol.source}, not of this table"
            )
        case "protocol":
            mark = _covering(loaded.protocol.provenance, path)
        case "suite":
            mark = _covering(loaded.suite.provenance, path)
        case "matrix":
            mark = _covering(loaded.suite.provenance, path) or _source_mark(loaded)
        case "tier":
            mark = _deviation(leaf.layer, expanded.tier.title)
        case _:
            mark = _deviation(f"--set {'.'.join(path)}", "set on the command line")
    return mark or _deviation(str(leaf.position), UNMARKED)


def _covering(provenance: Mapping[str, Mark], path: Path_) -> Mark | None:
    """Return the mark of the longest dotted path that is the leaf or holds it."""
    prefixes = (".".join(path[:n]) for n in range(len(path), 0, -1))
    return next((provenance[prefix] for prefix in prefixes if prefix in provenance), None)


def _source_mark(loaded: Loaded) -> Mark:
    return Mark(origin=loaded.sources[0].origin, place=loaded.suite.sources[0].place)


def _deviation(place: str, reason: str) -> Mark:
    return Mark(origin="deviation", place=place, reason=reason)


def _inferred(reason: str) -> Mark:
    return Mark(origin="inferred", place="not stated", reason=reason)


def _context_mark(expanded: Expanded, path: Path_, spec: RunSpec) -> Mark:
    """Return the mark of what no file sets: the images, and how the run is computed."""
    framework = expanded.loaded.sources[0].framework
    unknown = framework == "unknown"
    default = "the usual choice" if unknown else f"the default of {framework}"
    choice = expanded.context.data.get(spec.data.name)
    match path:
        case ("model", "code"):
            return _deviation("networks.py next to the suite", "a network of the user's own")
        case ("data", "id") if choice is None or not choice.published:
            label = choice.label if choice else spec.data.name
            return _deviation(f"data {label}", "not the published data set")
        case ("tier",) if spec.tier != PAPER.name:
            return _deviation(f"tier {spec.tier}", expanded.tier.title)
        case ("engine",) if framework.lower() != "pytorch":
            used = "does not name a framework" if unknown else f"used {framework}"
            return _deviation(f"engine {spec.engine}", f"PyTorch where the source {used}")
        case ("engine",) if spec.engine == "eager":
            return _inferred("PyTorch's plain loop")
        case ("engine",):
            return _deviation(f"engine {spec.engine}", "CUDA graphs; the source does not say so")
        case ("precision",) if spec.precision == "fp32":
            return _inferred(f"{default} at the time")
        case ("precision",):
            return _deviation(f"precision {spec.precision}", f"fp32 was {default}")
        case ("seed",):
            return _inferred("the source names no seeds; they are the suite's")
    return _source_mark(expanded.loaded)
