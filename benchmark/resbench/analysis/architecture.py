"""What is counted and not trained: the architecture table, and the zoo beside its printed sizes.

Only here does a report build networks, on the meta device; torch is imported when that is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from resbench.analysis.cells import Place, bare_places, judge_count
from resbench.analysis.tables import FilledTable
from resbench.datasets import DATA_SETS
from resbench.errors import UsageError
from resbench.models.catalogue import ZOO, ZooEntry
from resbench.suite.catalog import Loaded

if TYPE_CHECKING:
    from resbench.models.measure import Row, Size


def count_places(table: FilledTable) -> tuple[Place, ...]:
    """Fill the places of a table that is counted, from the networks that its columns name."""
    loaded = table.expanded.loaded
    return tuple(
        _judge(place, *_network_of(loaded, place.cell.cell.levels)) for place in bare_places(table)
    )


def zoo() -> Iterator[tuple[ZooEntry, Size, Size, int]]:
    """Yield every network of the catalogue, counted for 10 and for 100 classes, and its MACs."""
    from resbench.models.measure import macs, size

    for entry in ZOO:
        network: dict[str, Any] = {"family": entry.family, "name": entry.name, **entry.options}
        ten, hundred = (size(**network, num_classes=n) for n in (10, 100))
        yield entry, ten, hundred, macs(**network, num_classes=10)


def _judge(place: Place, rows: tuple[Row, ...], size: Size) -> Place:
    printed = place.printed.value if place.printed else None
    if place.metric == "params_m":
        # The report counted as Keras does, with the running statistics.
        return judge_count(place, size.with_bn_statistics)
    row = next((row for row in rows if row.name == place.row), None)
    if place.metric == "depth":
        found = str(size.trunk_depth)
    elif row is not None:
        found = row.layer if place.metric == "layer" else row.size
    else:
        return replace(place, kind="shown", text="Nothing to count here.")
    if printed is None:
        return replace(place, kind="shown", text=f"As built {found}.", ours=found)
    same = found == printed
    text = f"As built {found}, {'as' if same else 'not'} printed {printed}."
    return replace(place, kind="equal" if same else "differs", text=text, ours=found)


def _network_of(loaded: Loaded, levels: Mapping[str, str]) -> tuple[tuple[Row, ...], Size]:
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
    try:
        return _measured(**model, num_classes=DATA_SETS[data].classes)
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{loaded.document.path}: cannot count this network: {error}") from None


@cache
def _measured(**network: Any) -> tuple[tuple[Row, ...], Size]:
    from resbench.models.measure import architecture, size

    return architecture(**network), size(**network)
