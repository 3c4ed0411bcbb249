"""Checks between the parts of a suite: its axes, rows, columns, and the cells of claims.

Each check needs only the parts it compares, so that a file that is wrong in one part still shows
what is wrong between the others.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from resbench.errors import did_you_mean
from resbench.suite.claims import parse_claim
from resbench.suite.schema import (
    ERROR_METRICS,
    SIGNAL_METRICS,
    TEXT_METRICS,
    Layout,
    Level,
    PaperValue,
    Suite,
)
from resbench.suite.spec import plain_to, setting_paths
from resbench.suite.yaml import Found, Keys

Matrix = Mapping[str, Mapping[str, Level]]
MAX_CELLS = 1000
"""Thirty times the largest suite; a small file could ask for more than fit into memory."""
_TYPES = {field.name: field.type for field in msgspec.structs.fields(Suite)}


def sound_part(value: Mapping[str, Any], name: str) -> Any:
    """Return one field of a suite's plain values; None where it is missing or wrong."""
    try:
        return plain_to(_TYPES[name], value[name]) if name in value else None
    except ValueError:
        return None


def unconnected(value: Mapping[str, Any]) -> Iterator[Found]:
    """Yield every name in a suite's plain values that the rest of the suite does not know."""
    matrix, table = sound_part(value, "matrix"), sound_part(value, "table")
    if matrix is None:
        return
    if math.prod(map(len, matrix.values())) > MAX_CELLS:
        yield ("matrix",), f"the levels make more than {MAX_CELLS:,} cells. Split the suite."
        return
    if value.get("train") is not False:  # a counted table has no figures
        yield from _labels(matrix)
    for i, skip in enumerate(sound_part(value, "skips") or ()):
        yield from _levels(matrix, skip.where, ("skips", i, "where"))
    if table is not None:
        yield from _shape(matrix, table)
        yield from _published(matrix, table, sound_part(value, "published") or {})
    yield from _claims(matrix, value.get("claims"))


def unmarked(value: Mapping[str, Any], own_networks: bool = False) -> Iterator[Found]:
    """Yield every entry of a ``provenance``, of a level or the file, that is not about a setting.

    What options ``own_networks`` have is known only once they are loaded.
    """
    places: list[tuple[Keys, Any]] = [((), value.get("provenance"))]
    for axis, levels in (sound_part(value, "matrix") or {}).items():
        places += [(("matrix", axis, name), level.provenance) for name, level in levels.items()]
    for at, marks in places:
        for path in marks if isinstance(marks, dict) else ():
            if path not in setting_paths() and not (own_networks and path.startswith("model.")):
                hint = did_you_mean(path, setting_paths())
                yield (*at, "provenance", path), f"unknown setting '{path}'.{hint}"


def _shape(matrix: Matrix, table: Layout) -> Iterator[Found]:
    """Check that every row and column of the table is one cell."""
    yield from _known("axis", table.rows, matrix, ("table", "rows"))
    for name, column in table.columns.items():
        at = ("table", "columns", name)
        yield from _levels(matrix, column.where, (*at, "where"))
        if table.rows in column.where:
            text = f"column '{name}' cannot choose a level of the axis of the rows. Delete it."
            yield (*at, "where", table.rows), text
        for axis in matrix if table.rows in matrix else ():
            if axis not in {table.rows, *column.where}:
                yield at, f"column '{name}' must choose a level of the axis '{axis}' under 'where'."


def _labels(matrix: Matrix) -> Iterator[Found]:
    """Check that the labels of an axis differ: figures would join two levels into one curve."""
    for axis, levels in matrix.items():
        first: dict[str, str] = {}
        for name, level in levels.items():
            if (other := first.setdefault(" ".join(level.label.split()), name)) != name:
                text = f"levels '{other}' and '{name}' have the same label. Change one of the two."
                yield ("matrix", axis, name, "label"), text


def _levels(matrix: Matrix, where: Mapping[str, str], at: Keys) -> Iterator[Found]:
    """Check that every entry of a ``where`` is an axis and a level of it."""
    for axis, level in where.items():
        yield from _known("axis", axis, matrix, (*at, axis))
        if axis in matrix:
            yield from _known(f"level of '{axis}'", level, matrix[axis], (*at, axis))


def _known(what: str, name: str, allowed: Collection[str], at: Keys) -> Iterator[Found]:
    if name not in allowed:
        yield at, f"unknown {what}: '{name}'.{did_you_mean(name, allowed)}"


def _published(
    matrix: Matrix, table: Layout, published: Mapping[str, Mapping[str, PaperValue]]
) -> Iterator[Found]:
    """Check that every published value has a row, a column, and a number where one is due."""
    for row, columns in published.items():
        if table.rows in matrix:
            yield from _known("row", row, matrix[table.rows], ("published", row))
        for name, value in columns.items():
            at = ("published", row, name)
            yield from _known("column", name, table.columns, at)
            if name not in table.columns or value.value is None:
                continue
            metric = value.metric or table.columns[name].metric
            if metric in TEXT_METRICS:
                continue
            sign = "-?" if metric in SIGNAL_METRICS else ""  # those are logarithms
            if not re.fullmatch(rf"{sign}[0-9]+(\.[0-9]+)?", value.value):
                more = "What else is published, such as ±, goes into 'note'; a blank cell is null."
                yield (*at, "value"), f"'{value.value}' is not a number like \"5.46\". {more}"
            elif metric in ERROR_METRICS and float(value.value) > 100:
                yield (*at, "value"), f"{value.value} is not an error in percent."


def _claims(matrix: Matrix, claims: Any) -> Iterator[Found]:
    """Check that every claim is about cells that exist; the schema checks the rest of it."""
    ids = ["/".join(levels) for levels in itertools.product(*matrix.values())]
    for i, claim in enumerate(claims if isinstance(claims, list) else ()):
        text = claim.get("claim") if isinstance(claim, dict) else None
        if isinstance(text, str):
            try:
                operator = parse_claim(text, ids).operator
            except ValueError as error:
                yield ("claims", i, "claim"), str(error)
                continue
            if (operator == "~") != (claim.get("margin_pp") is not None):
                yield ("claims", i, "claim"), "a claim needs 'margin_pp' exactly if it uses '~'."
