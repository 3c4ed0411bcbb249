"""The fields of every JSON answer, next to the number that tells readers of another shape."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, Literal

import msgspec
import pytest

from resbench.analysis import SCHEMA
from resbench.analysis.compare import Comparison
from resbench.analysis.explain import Explanation
from resbench.analysis.judge import Report
from resbench.analysis.status import FolderStatus

SHAPES = {3: "57aaae7885c820fb", 4: "2ca5ca35aa08592c", 5: "bb5b9e0a248aaef7",
          6: "9f34dde197985ac3", 7: "2007a459b0f29f4b", 8: "5a8be7e80cb25f95"}  # fmt: skip
"""A digest of all fields, types and words by schema number. When a shape changes, raise SCHEMA and
add its line; a line that is here was promised to readers, and stays."""
UNSEEN = {"title", "description", "default", "required"}
"""What a schema says for who writes it, not for who reads an answer."""


def shape(schema: Any, *, of_fields: bool = False) -> Any:
    """A schema with its fields and their types and words, and nothing else."""
    if isinstance(schema, list):
        return [shape(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: shape(part, of_fields=name == "properties")
        for name, part in schema.items()
        if of_fields or name not in UNSEEN
    }


def digest(*kinds: Any) -> str:
    _, types = msgspec.json.schema_components(kinds)
    found = {name: shape(schema) for name, schema in types.items()}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def test_the_fields_of_an_answer_change_only_with_its_schema_number() -> None:
    now = digest(Report, FolderStatus, Comparison, Explanation)
    assert SHAPES.get(SCHEMA) == now, f"raise SCHEMA above {SCHEMA} and add: {SCHEMA + 1}: {now!r}"
    assert max(SHAPES) == SCHEMA


@pytest.mark.parametrize(
    "other", [("figure", Literal["a", "b"]), ("word", Literal["a", "c"]), ("word", list[str])]
)
def test_another_field_word_or_type_is_another_shape(other: tuple[str, Any]) -> None:
    inner = dataclasses.make_dataclass("Inner", [("word", Literal["a", "b"])])
    changed = dataclasses.make_dataclass("Inner", [other])
    one, two = (dataclasses.make_dataclass("Outer", [("all", kind)]) for kind in (inner, changed))
    assert digest(one) != digest(two)
