"""What ties the parts of a suite file together: its axes, rows, columns, and the cells of claims.

Each check needs only the parts it speaks of, so that a file that is wrong in one part still shows
what is wrong between the others.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from resbench.errors import did_you_mean
from resbench.suite.claims import parse_claim
from resbench.suite.schema import ERROR_METRICS, TEXT_METRICS, Level, PaperValue, Suite, Table
from resbench.suite.schema_errors import Found
from resbench.suite.spec import plain_to, settings_below

Matrix = Mapping[str, Mapping[str, Level]]
Where = Mapping[str, str]
_TYPES = {field.name: field.type for field in msgspec.structs.fields(Suite)}


def sound_part(value: Mapping[str, Any], name: str) -> Any:
    """Return one field of a suite's plain values; None where it is missing or wrong."""
    try:
        return plain_to(_TYPES[name], value[name]) if name in value else None
    except ValueError:
        return None


def unconnected(value: Mapping[str, Any]) -> Iterator[Found]:
    """Yield every name in a suite's plain values that stands for nothing in the rest of it."""
    matrix, table = sound_part(value, "matrix"), sound_part(value, "table")
    if matrix is None:
        return
    for i, skip in enumerate(sound_part(value, "skips") or ()):
        yield from _levels(matrix, skip.where, ("skips", i, "where"))
    if table is not None:
        yield from _shape(matrix, table)
        yield from _printed(matrix, table, sound_part(value, "printed") or {})
    yield from _claims(matrix, value.get("claims"))


def unmarked(value: Mapping[str, Any], own_networks: bool = False) -> Iterator[Found]:
    """Yield every provenance of a suite's or protocol's plain values that marks no setting.

    What options ``own_networks`` have is known only once they are loaded.
    """
    marks = value.get("provenance")
    for path in marks if isinstance(marks, dict) else ():
        *parents, last = path.split(".")
        known = settings_below(parents)
        if last not in known and not (own_networks and parents == ["model"]):
            hint = did_you_mean(last, known)
            yield ("provenance", path), f"provenance.{path} names no setting.{hint}"


def _shape(matrix: Matrix, table: Table) -> Iterator[Found]:
    """Every place of the table is one cell."""
    if table.rows not in matrix:
        message = f"table.rows names no axis of the matrix: '{table.rows}'."
        yield ("table", "rows"), f"{message}{did_you_mean(table.rows, matrix)}"
    for name, column in table.columns.items():
        place = ("table", "columns", name)
        yield from _levels(matrix, column.where, (*place, "where"))
        for axis in matrix:
            if table.rows in matrix and axis != table.rows and axis not in column.where:
                yield place, f"column '{name}' leaves the axis '{axis}' open"
                break


def _levels(matrix: Matrix, where: Where, place: tuple[str | int, ...]) -> Iterator[Found]:
    """Every entry of a ``where`` is an axis and a level of it."""
    for axis, level in where.items():
        if axis not in matrix:
            hint = did_you_mean(axis, matrix)
            yield (*place, axis), f"'{axis}' is no axis of the matrix.{hint}"
        elif level not in matrix[axis]:
            hint = did_you_mean(level, matrix[axis])
            yield (*place, axis), f"'{level}' is no level of '{axis}'.{hint}"


def _printed(
    matrix: Matrix, table: Table, printed: Mapping[str, Mapping[str, PaperValue]]
) -> Iterator[Found]:
    """Every printed value stands in a row and a column, and is a number where a number is due."""
    rows = matrix.get(table.rows)
    for row, columns in printed.items():
        if rows is not None and row not in rows:
            hint = did_you_mean(row, rows)
            yield ("printed", row), f"printed.{row} names no row of the table.{hint}"
        for name, value in columns.items():
            place = ("printed", row, name)
            if name not in table.columns:
                hint = did_you_mean(name, table.columns)
                yield place, f"printed.{row}.{name} names no column of the table.{hint}"
                continue
            metric = value.metric or table.columns[name].metric
            if value.value is None or metric in TEXT_METRICS:
                continue
            if not re.fullmatch(r"\d+(\.\d+)?", value.value):
                yield (*place, "value"), f"printed.{row}.{name}: '{value.value}' is no number."
            elif metric in ERROR_METRICS and float(value.value) > 100:
                text = f"printed.{row}.{name}: {value.value} is no error in percent."
                yield (*place, "value"), text


def _claims(matrix: Matrix, claims: Any) -> Iterator[Found]:
    """Every claim speaks of cells that exist; what else is wrong with it is for the schema."""
    ids = ["/".join(levels) for levels in itertools.product(*matrix.values())]
    for i, claim in enumerate(claims if isinstance(claims, list) else ()):
        text = claim.get("claim") if isinstance(claim, dict) else None
        if isinstance(text, str):
            try:
                parsed = parse_claim(text, ids)
            except ValueError as error:
                yield ("claims", i, "claim"), str(error)
                continue
            if (parsed.operator == "~") != (claim.get("margin_pp") is not None):
                yield ("claims", i, "claim"), "'~' needs a margin_pp, and nothing else takes one"
