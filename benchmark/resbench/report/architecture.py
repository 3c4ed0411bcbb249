"""What is counted and not trained: the architecture table, and the zoo beside its printed sizes.

Only here does a report build networks, on the meta device; torch is imported when that is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resbench.data.catalog import NUM_CLASSES
from resbench.errors import UsageError
from resbench.models.catalogue import ZOO, ZooEntry
from resbench.report.cells import Place, bare_places, judge_count
from resbench.report.collect import FilledTable
from resbench.suite.catalog import Loaded

if TYPE_CHECKING:
    from resbench.models.measure import Measured


def count_places(table: FilledTable) -> tuple[Place, ...]:
    """Fill the places of a table that is counted, from the networks that its columns name."""
    loaded = table.expanded.loaded
    places = []
    for place in bare_places(table):
        network = _network_of(loaded, place.cell.cell.levels)
        places.append(_judge(place, network))
    return tuple(places)


def zoo() -> list[tuple[ZooEntry, Measured, Measured]]:
    """Measure every network of the catalogue, for 10 and for 100 classes."""
    return [
        tuple([entry, *(_measured(entry.family, entry.name, n, entry.options) for n in (10, 100))])
        for entry in ZOO
    ]


def _judge(place: Place, network: Measured) -> Place:
    printed = place.printed.value if place.printed else None
    if place.metric == "params_m":
        # The report counted as Keras does, with the running statistics.
        return judge_count(place, network.with_bn_statistics)
    row = next((row for row in network.rows if row.name == place.row), None)
    if place.metric == "depth":
        found = str(network.trunk_depth)
    elif row is not None:
        found = row.layer if place.metric == "layer" else row.size
    else:
        return replace(place, kind="shown", text="Nothing to count here.")
    if printed is None:
        return replace(place, kind="shown", text=f"As built {found}.", ours=found)
    same = found == printed
    text = f"As built {found}, {'as' if same else 'not'} printed {printed}."
    return replace(place, kind="equal" if same else "differs", text=text, ours=found)


def _network_of(loaded: Loaded, levels: Mapping[str, str]) -> Measured:
    """Measure the network that a suite's model settings and the levels of a cell describe."""
    model = {**loaded.protocol.model, **loaded.suite.base.get("model", {})}
    data = loaded.suite.base.get("data", {}).get("name", "cifar10")
    for axis, level in levels.items():
        for key, value in loaded.suite.matrix[axis][level].set.items():
            if key == "model":
                model = {**value} if "family" in value else {**model, **value}
            elif key.startswith("model."):
                model[key.removeprefix("model.")] = value
            elif key == "data.name":
                data = value
    family, name = model.pop("family"), model.pop("name")
    try:
        return _measured(family, name, NUM_CLASSES[data], model)
    except (ValueError, KeyError) as error:
        raise UsageError(f"{loaded.document.path}: cannot count {family} {name}: {error}") from None


_known: dict[str, Measured] = {}


def _measured(family: str, name: str, classes: int, options: Mapping[str, Any]) -> Measured:
    from resbench.models.measure import measure

    key = repr((family, name, classes, sorted(options.items())))
    if key not in _known:
        _known[key] = measure(family, name, num_classes=classes, **options)
    return _known[key]
