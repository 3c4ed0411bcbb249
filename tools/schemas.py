"""JSON Schema of suite, protocol, sources and tier files, for completion and checks in editors.

``python -m tools.schemas`` writes them to ``suites/schema/``.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

import msgspec

from resbench.models import FAMILIES
from resbench.suite.expand import PARTS
from resbench.suite.load import suite_folder
from resbench.suite.schema import Protocol, Sources, Suite, Tier
from resbench.suite.spec import RunSpec, setting_paths

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
    paths = sorted(p for p in setting_paths() if p.split(".")[0] in PARTS and p != "data.id")
    names = [{"enum": paths}, {"pattern": r"^model\.[A-Za-z_]\w*$"}]  # options of a user's family
    set_ = {"type": "object", "propertyNames": {"anyOf": names}}

    properties = result["properties"]
    if model is Suite:
        properties["base"] = mapping
        result["$defs"]["Level"]["properties"]["set"] = set_
    elif model is Protocol:
        properties.update(parts)
    else:
        properties["set"] = set_
        properties["families"]["additionalProperties"] = set_
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
    for definition in definitions.values():
        if "description" in definition:  # a docstring, which Python 3.13 has already unindented
            definition["description"] = inspect.cleandoc(definition["description"])
    return {**definitions.pop(kind.__name__), "$defs": definitions}


def _partial(definition: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in definition.items() if key != "required"}


def _any_of(field: dict[str, Any]) -> dict[str, Any]:
    """A part of a tagged union may come without its tag, or have that of a user's networks.py."""
    own = {"required": ["family"], "properties": {"family": {"not": {"enum": [*FAMILIES]}}}}
    return {"anyOf": [*field["anyOf"], own]} if "discriminator" in field else field


if __name__ == "__main__":
    main()
