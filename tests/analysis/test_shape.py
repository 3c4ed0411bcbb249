"""The fields of every JSON answer, next to the number that tells readers of another shape."""

from __future__ import annotations

import dataclasses
import hashlib
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from resbench.analysis import SCHEMA
from resbench.analysis.compare import Comparison
from resbench.analysis.explain import Explanation
from resbench.analysis.judge import Report
from resbench.analysis.status import FolderStatus

SHAPES = {3: "57aaae7885c820fb", 4: "2ca5ca35aa08592c", 5: "bb5b9e0a248aaef7",
          6: "bb5b9e0a248aaef7"}  # fmt: skip
"""A digest of all fields by schema number. When a shape changes, raise SCHEMA and add its line; a
line that is here was promised to readers, and stays."""


def fields(kind: Any, known: set[Any]) -> Iterator[str]:
    """Yield every field below a type, and every word that it may hold, each type once."""
    if typing.get_origin(kind) is typing.Literal:
        yield from map(str, typing.get_args(kind))
    for part in typing.get_args(kind):
        yield from fields(part, known)
    if kind in known or not (dataclasses.is_dataclass(kind) or _is_struct(kind)):
        return
    known.add(kind)
    for name, hint in typing.get_type_hints(kind).items():
        yield f"{kind.__name__}.{name}"
        yield from fields(hint, known)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def digest(*kinds: Any) -> str:
    known: set[Any] = set()
    found = sorted({line for kind in kinds for line in fields(kind, known)})
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]


def test_the_fields_of_an_answer_change_only_with_its_schema_number() -> None:
    now = digest(Report, FolderStatus, Comparison, Explanation)
    assert SHAPES.get(SCHEMA) == now, f"raise SCHEMA above {SCHEMA} and add: {SCHEMA + 1}: {now!r}"
    assert max(SHAPES) == SCHEMA


@pytest.mark.parametrize("other", [("figure", float | None), ("word", typing.Literal["a", "c"])])
def test_another_field_or_word_is_another_shape(other: tuple[str, Any]) -> None:
    inner = dataclasses.make_dataclass("Inner", [("word", typing.Literal["a", "b"])])
    changed = dataclasses.make_dataclass("Inner", [other])
    one, two = (dataclasses.make_dataclass("Outer", [("all", kind)]) for kind in (inner, changed))
    assert digest(one) != digest(two)
