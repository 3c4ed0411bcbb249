"""From a suite to its cells: layers of settings become one checked specification a cell.

The layers, each over the one before: protocol, the suite's ``base``, the levels of its matrix,
the tier, the command line. Every leaf keeps its position in a file and the layer that set it, so
that an error points at a line and the ledger can show where each hyperparameter comes from.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from resbench.datasets import DATA_SETS
from resbench.errors import UsageError, did_you_mean
from resbench.models import FAMILIES, Network
from resbench.suite.claims import ParsedClaim, parse_claim
from resbench.suite.load import PAPER, Loaded, load_networks
from resbench.suite.messages import problems
from resbench.suite.schema import Metric, PaperValue, Shrunk, Suite, Tier
from resbench.suite.spec import (
    Engine,
    Precision,
    RunSpec,
    Schedule,
    plain_to,
    setting_paths,
    specification,
)
from resbench.suite.yaml import DocumentError, Keys, Position, Problem, YamlDocument

Path_ = tuple[str, ...]
At = Callable[[Keys], Position]
"""The position of a path in a file."""
_FOUND = {("data", "id"): "the available images", ("model", "code"): "networks.py"}
"""What no file sets, and what it is taken from."""
PARTS = ("model", "data", "training")
"""The parts of a run specification that files set."""


@dataclass(frozen=True)
class DataChoice:
    """An available data set: its name in suites, its name in tables, its content identity."""

    name: str
    label: str
    id: str

    @property
    def published(self) -> bool:
        """Whether published numbers are about these images: their identity decides, no flag."""
        known = DATA_SETS.get(self.name)
        return known is not None and known.archive is not None and self.id == known.id


@dataclass(frozen=True)
class Context:
    """How a suite is run, apart from the suite itself. Stored with every run."""

    engine: Engine
    precision: Precision
    data: Mapping[str, DataChoice]
    tier: str = PAPER.name
    overrides: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Leaf:
    """One hyperparameter: its value, its position in a file, and the layer that set it."""

    value: Any
    position: Position
    layer: str


@dataclass(frozen=True)
class Cell:
    """One combination of the matrix: what one cell of the table needs to have run."""

    id: str
    levels: Mapping[str, str]
    spec: RunSpec | None
    """The specification at the suite's first seed; None where the cell is skipped."""
    skip: str | None = None
    leaves: Mapping[Path_, Leaf] = field(default_factory=dict, repr=False)

    def at_seed(self, seed: int) -> RunSpec:
        """Return the run of this cell at one seed."""
        assert self.spec is not None, f"{self.id} is skipped: {self.skip}"
        return replace(self.spec, seed=seed)


@dataclass(frozen=True)
class Expanded:
    """A suite with the settings of one context; of data sets, with those that its cells use."""

    loaded: Loaded
    tier: Tier
    context: Context
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]

    @property
    def declared_seeds(self) -> tuple[int, ...]:
        """The seeds of tier or suite, whichever were asked for."""
        return self.tier.seeds or self.loaded.suite.seeds

    def cell(self, cell_id: str) -> Cell:
        """Return a cell by id, ``LEVEL/LEVEL`` in the order of the matrix's axes."""
        cells = {cell.id: cell for cell in self.cells}
        if cell_id not in cells:
            where = f"unknown cell '{cell_id}' in suite '{self.loaded.suite.name}'."
            raise UsageError(f"{where}{did_you_mean(cell_id, cells)}")
        return cells[cell_id]

    def cell_of(self, row: str, column: str) -> Cell:
        """Return the cell in a row and a column of the table."""
        return self.cell(cell_id(self.loaded.suite, row, column))


def cell_id(suite: Suite, row: str, column: str) -> str:
    """Return the id of the cell in a row and a column of the table."""
    levels = {suite.table.rows: row, **suite.table.columns[column].where}
    return "/".join(levels[axis] for axis in suite.matrix)


def published_values(suite: Suite) -> Iterator[tuple[str, Metric, PaperValue]]:
    """Yield what the source publishes with its cell and the metric that it is compared with."""
    for row, columns in suite.published.items():
        for name, value in columns.items():
            metric = value.metric or suite.table.columns[name].metric
            yield cell_id(suite, row, name), metric, value


def expand(
    loaded: Loaded,
    context: Context,
    tier: tuple[Tier, YamlDocument | None] = (PAPER, None),
    seeds: tuple[int, ...] | None = None,
) -> Expanded:
    """Expand a suite into its cells, checking every specification.

    Raises:
        DocumentError: all problems, each with file, line and column.
        UsageError: an override of an unknown setting.
    """
    suite = loaded.suite
    chosen = seeds or tier[0].seeds or suite.seeds
    cells, found, shared = [], list[Problem](), _shared(loaded)
    counted = None if suite.train else "this table is counted, not trained"
    for combination in itertools.product(*suite.matrix.values()):
        levels = dict(zip(suite.matrix, combination, strict=True))
        name = "/".join(combination)
        skip = next((s.reason for s in suite.skips if s.where.items() <= levels.items()), None)
        if skip:
            cells.append(Cell(name, levels, None, skip))
            continue
        try:
            leaves = _layered(dict(shared), loaded, levels, context, tier)
            spec = _checked(leaves, loaded, context, chosen[0]) if suite.train else None
            cells.append(Cell(name, levels, spec, counted, leaves))
        except DocumentError as error:
            found += error.problems
    if found:
        raise DocumentError(found)
    changed = context.tier != PAPER.name or bool(context.overrides)
    cells = list(_each_once(cells, loaded.document, changed=changed))
    used = {cell.spec.data.name for cell in cells if cell.spec is not None}
    data = {name: choice for name, choice in context.data.items() if name in used}
    own = with_changes(context, data=data or context.data)  # a counted table has those it names
    return Expanded(loaded, tier[0], own, tuple(cells), chosen)


def _each_once(cells: Sequence[Cell], document: YamlDocument, *, changed: bool) -> Iterator[Cell]:
    """Skip cells that the tier or an override has made equal to another: their labels are wrong.

    A tier that sets the schedule trains a row of 40 epochs as long as one of five. Where neither
    ``changed`` anything, a level was copied and not edited: that is an error.
    """
    first = dict[str, str]()
    copies = []
    for cell in cells:
        same = cell.id if cell.spec is None else first.setdefault(cell.spec.key, cell.id)
        if same == cell.id:
            yield cell
        elif changed:
            reason = f"in this setting it is the same experiment as {same}"
            yield with_changes(cell, spec=None, skip=reason)
        else:
            axis, level = next(iter(cell.levels.items()))
            text = f"cell '{cell.id}' is the same experiment as '{same}'. Change or delete one."
            copies.append((("matrix", axis, level), text))
    if copies:
        raise document.error(copies)


def parsed_claims(expanded: Expanded) -> list[ParsedClaim]:
    """Return the suite's claims, parsed, in order."""
    ids = [cell.id for cell in expanded.cells]
    return [parse_claim(claim.claim, ids) for claim in expanded.loaded.suite.claims]


def _shared(loaded: Loaded) -> dict[Path_, Leaf]:
    """Return the layers that all cells of a suite have in common."""
    leaves: dict[Path_, Leaf] = {}
    protocol = loaded.protocol
    parts = {part: getattr(protocol, part) for part in PARTS}
    _set(leaves, parts, f"protocol {protocol.name}", loaded.protocol_document.at)
    _set(leaves, loaded.suite.base, "suite", loaded.document.at, "base")
    return leaves


def _layered(
    leaves: dict[Path_, Leaf],
    loaded: Loaded,
    levels: Mapping[str, str],
    context: Context,
    tier: tuple[Tier, YamlDocument | None],
) -> dict[Path_, Leaf]:
    for axis, level in levels.items():
        settings, at = loaded.suite.matrix[axis][level].set, loaded.document.at
        _set(leaves, settings, f"matrix {axis}", at, "matrix", axis, level, "set")
    _apply_tier(leaves, *tier)
    for key, value in context.overrides:
        known = {".".join(path[:n]) for path in leaves for n in range(1, len(path) + 1)}
        if key not in known:
            raise UsageError(f"--set {key}: unknown setting.{did_you_mean(key, sorted(known))}")
        _set(leaves, {key: value}, "command line", _on_command_line(key))
    return leaves


def _on_command_line(key: str) -> At:
    return lambda _keys: Position(Path(f"--set {key}"), 0, 0)


def _set(
    leaves: dict[Path_, Leaf], settings: Mapping[str, Any], layer: str, at: At, *keys: str
) -> None:
    """Set dotted paths, which are below ``keys`` in a file."""
    for key, value in settings.items():
        _apply(leaves, tuple(key.split(".")), value, layer, at, (*keys, key))


def _apply(
    leaves: dict[Path_, Leaf], path: Path_, value: Any, layer: str, at: At, keys: Keys
) -> None:
    """Set one path; mappings merge key by key, except that a whole ``model`` replaces a model."""
    replaces = path == ("model",) and isinstance(value, dict) and "family" in value
    # Where there is a leaf, nothing else is above or below it.
    for known in [path] if path in leaves else list(leaves):
        is_below, is_above = known[: len(path)] == path, path[: len(known)] == known
        if is_above or (is_below and (replaces or not isinstance(value, dict))):
            del leaves[known]
    if isinstance(value, dict):
        for key, item in value.items():
            _apply(leaves, (*path, key), item, layer, at, (*keys, key))
    else:
        leaves[path] = Leaf(value, at(keys), layer)


def _apply_tier(leaves: dict[Path_, Leaf], tier: Tier, document: YamlDocument | None) -> None:
    if document is None:
        return
    layer, at = f"tier {tier.name}", document.at
    leaf = leaves.get(("model", "family"))
    family = leaf.value if leaf is not None and isinstance(leaf.value, str) else ""
    _set(leaves, tier.set, layer, at, "set")
    if family and tier.families:
        if family not in tier.families:
            # It would train as wide as published, under the title of a tier of narrow networks.
            text = (
                f"families has no line for '{family}'. Add one, {{}} if nothing changes: here, or "
                "in a copy of this tier in tiers/ next to the suite."
            )
            raise document.error([(("families",), text)])
        _set(leaves, tier.families[family], layer, at, "families", family)
    own = tier.schedules.get(family)
    if (schedule := own or tier.schedule) is None:
        return
    position = at(("schedules", family) if own else ("schedule",))
    # What makes no sense is left as it is: the check that follows reports it.
    with suppress(KeyError, TypeError, ValueError, ArithmeticError):
        for path, value in _resized(leaves, schedule).items():
            if path not in leaves or leaves[path].value != value:
                leaves[path] = Leaf(value, position, layer)


def _resized(leaves: Mapping[Path_, Leaf], to: Shrunk) -> dict[Path_, Any]:
    """Return a schedule of another length, with drops, warm-up and patience at their fractions."""
    root, patience = ("training", "schedule"), ("training", "early_stopping", "patience")
    own = {path: leaf for path, leaf in leaves.items() if path[:2] == root}
    old = plain_to(Schedule, nested(own)["training"]["schedule"])
    factor = to.total / old.total

    def length(value: float) -> int | float:
        scaled = value * factor
        return max(1, round(scaled)) if to.unit == "step" else round(scaled, 4)

    drops, before = list[dict[str, Any]](), 0.0
    for drop in old.drops:
        at = length(drop.at)
        if to.plateau is None or at - before >= to.plateau:
            drops.append({"at": at, "factor": drop.factor})
            before = at
    new = {"unit": to.unit, "total": length(old.total), "drops": drops}
    resized: dict[Path_, Any] = {(*root, name): value for name, value in new.items()}
    if old.warmup is not None:
        resized[*root, "warmup", "until"] = length(old.warmup.until)
    if patience in leaves and isinstance(leaves[patience].value, int):
        if to.unit != old.unit:  # patience is in epochs
            steps = _steps_per_epoch(nested(leaves))
            factor = factor / steps if to.unit == "step" else factor * steps
        resized[patience] = max(1, round(leaves[patience].value * factor))
    return resized


def _steps_per_epoch(value: Mapping[str, Any]) -> int:
    data = value["data"]
    images = DATA_SETS[data["name"]].train_subset(data["first"], data["train_images"])
    return images // int(value["training"]["batch_size"])


def nested(leaves: Mapping[Path_, Leaf]) -> dict[str, Any]:
    """Return the values of leaves as nested mappings."""
    value: dict[str, Any] = {}
    for path, leaf in leaves.items():
        node = value
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = leaf.value
    return value


def _checked(leaves: Mapping[Path_, Leaf], loaded: Loaded, context: Context, seed: int) -> RunSpec:
    foreign = {path[0]: leaf.position for path, leaf in leaves.items() if path[0] not in PARTS}
    if foreign:
        raise DocumentError(
            Problem(at, f"unknown key '{name}'.{_in_full(name) or did_you_mean(name, PARTS)}")
            for name, at in foreign.items()
        )
    for (part, name), of in _FOUND.items():
        if (given := leaves.get((part, name))) is not None:
            text = f"'{name}' in '{part}' is always taken from {of}. Delete it."
            raise DocumentError([Problem(given.position, text)])
    value = {
        "tier": context.tier,
        "scale": 1.0,
        "engine": context.engine,
        "precision": context.precision,
        "seed": seed,
        **nested(leaves),
    }
    data = value.get("data")
    if isinstance(data, dict):
        choice = context.data.get(str(data.get("name")))
        data["id"] = choice.id if choice else "unknown"
    own = _own_network(value.get("model"), loaded)
    kind = RunSpec if own is None else specification(own)
    try:
        return plain_to(kind, value)
    except ValueError:
        found = problems(kind, value)
        raise DocumentError(_located(keys, text, leaves, loaded) for keys, text in found) from None


def _in_full(name: str) -> str:
    """Return the settings that end in a name."""
    ends = [path for path in setting_paths() if path.endswith(f".{name}")]
    return f" Write {' or '.join(ends)}." if ends else ""


def _own_network(model: Any, loaded: Loaded) -> type[Network] | None:
    """Return what a ``networks.py`` next to the suite declares, where the model is of its family.

    Only then the user's code is run: a suite of resbench's own networks runs none.
    """
    file = loaded.networks
    if file is None or not isinstance(model, dict) or str(model.get("family")) in FAMILIES:
        return None
    family = load_networks(file)
    if model.get("family") == family.name:
        model["code"] = family.code
    return family.network


def _located(path: Keys, text: str, leaves: Mapping[Path_, Leaf], loaded: Loaded) -> Problem:
    """Return the problem at the line to mend: of the setting, or of the mapping that lacks it."""
    for n in range(len(path), 0, -1):
        if path[:n] in leaves:
            return Problem(leaves[path[:n]].position, text)  # type: ignore[index]
        near = [leaf for known, leaf in leaves.items() if known[:n] == path[:n]]
        if n < len(path) and any(leaf.layer.startswith("protocol") for leaf in near):
            break  # a key is missing from a mapping of the protocol
        if near:
            own = (leaf.position for leaf in near if leaf.position.file == loaded.document.path)
            return Problem(next(own, near[0].position), text)
    hint = f"{text} Add it here, or under 'base' in {loaded.document.path}."
    return Problem(loaded.protocol_document.at(path), hint)


def data_names(
    loaded: Loaded, tier: Tier = PAPER, overrides: Sequence[tuple[str, Any]] = ()
) -> list[str]:
    """Return the data sets that a suite's layers of settings name, each once."""
    suite = loaded.suite
    layers: list[Mapping[str, Any]] = [{"data": loaded.protocol.data}, suite.base]
    layers += [level.set for axis in suite.matrix.values() for level in axis.values()]
    layers += [tier.set, *tier.families.values(), dict(overrides)]
    named = [settings.get("data.name") for settings in layers]
    wholes = (settings.get("data") for settings in layers)
    named += [whole.get("name") for whole in wholes if isinstance(whole, dict)]
    return [name for name in DATA_SETS if name in named]
