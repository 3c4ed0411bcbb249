"""JSON Schema of suite, protocol, sources and tier files, for completion and checks in editors.

``python -m tools.schemas`` writes them to ``suites/schema/``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from resbench.suite.expand import PARTS
from resbench.suite.load import suite_folder
from resbench.suite.schema import Protocol, Sources, Suite, Tier
from resbench.suite.spec import RunSpec

FILES: dict[str, type[msgspec.Struct]] = {
    "suite": Suite,
    "protocol": Protocol,
    "sources": Sources,
    "tier": Tier,
}


def schema(model: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON Schema of one kind of file.

    The code has settings as free mappings, because files set a specification bit by bit and only
    the whole is checked. Here they are described by the specification's own fields, none required.
    """
    result, run = _schema(model), _schema(RunSpec)
    if model is Sources:
        return result
    definitions = {name: _partial(item) for name, item in run["$defs"].items()}
    definitions["Data"]["properties"].pop("id")  # known from the images, never set
    parts = {part: _any_of(run["properties"][part]) for part in PARTS}
    mapping = {"type": "object", "additionalProperties": False, "properties": parts}
    paths = sorted(set(_paths(mapping, definitions)))
    settings = {"type": "object", "propertyNames": {"enum": paths}}

    properties = result["properties"]
    if model is Suite:
        properties["base"] = mapping
        result["$defs"]["Level"]["properties"]["set"] = settings
    elif model is Protocol:
        properties.update(parts)
    else:
        properties["set"] = settings
        properties["families"]["additionalProperties"] = settings
    result["$defs"] |= definitions
    return result


def main() -> None:
    """Write every schema next to the suites."""
    folder = suite_folder() / "schema"
    folder.mkdir(exist_ok=True)
    for name, model in FILES.items():
        text = json.dumps(schema(model), indent=2, sort_keys=True) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return a class's own schema with those of its parts in ``$defs``."""
    definitions = json.loads(json.dumps(msgspec.json.schema(kind)))["$defs"]  # lists for tuples
    return {**definitions.pop(kind.__name__), "$defs": definitions}


def _partial(definition: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in definition.items() if key != "required"}


def _any_of(field: dict[str, Any]) -> dict[str, Any]:
    """A part of a tagged union may come without its tag."""
    return {"anyOf": field["anyOf"]} if "discriminator" in field else field


def _paths(node: dict[str, Any], definitions: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield every dotted path below a schema node; a path may come twice."""
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    for branch in node.get("anyOf", ()):
        yield from _paths(branch, definitions, prefix)
    for name, child in node.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from _paths(child, definitions, f"{prefix}{name}.")


if __name__ == "__main__":
    main()
