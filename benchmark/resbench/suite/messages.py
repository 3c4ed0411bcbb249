"""What is wrong with plain values, in words: where, what is there, what is allowed.

msgspec stops at the first error. Here it checks each part of a value separately, so that all errors
of a file are found at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta

from resbench.errors import did_you_mean
from resbench.suite.spec import plain_to
from resbench.suite.yaml import Found, Keys, YamlDocument, plain_value, quoted
from resbench.words import one_line

_Model = TypeVar("_Model", bound=msgspec.Struct)

_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
"""msgspec's names of JSON types."""


def validate(model: type[_Model], document: YamlDocument) -> _Model:
    """Check a document against a model, strictly and as JSON: no text becomes a number.

    Raises:
        DocumentError: every error of the model.
    """
    try:
        return plain_to(model, document.value)
    except ValueError:
        raise document.error(problems(model, document.value)) from None


def problems(declared: Any, value: Any, path: Keys = ()) -> Iterator[Found]:
    """Yield everything that keeps a plain value from being one of a declared type.

    Where no part of a value is at fault, the value itself is.
    """
    try:
        plain_to(declared, value)
    except ValueError as error:
        yield from list(_parts(declared, value, path)) or [_own(error, declared, value, path)]


def _parts(declared: Any, value: Any, path: Keys) -> Iterator[Found]:
    """Yield what is wrong with the entries of a mapping or the items of a list."""
    kinds = list(_types(declared))
    if isinstance(value, list):
        for item_type in (get_args(kind)[0] for kind in kinds if get_origin(kind) in {list, tuple}):
            for i, item in enumerate(value):
                yield from problems(item_type, item, (*path, i))
    elif isinstance(value, dict):
        structs = [kind for kind in kinds if isinstance(kind, msgspec.StructMeta)]
        if structs:
            yield from _struct(structs, value, path)
        for key_type, item_type in (get_args(kind) for kind in kinds if get_origin(kind) is dict):
            for key, item in value.items():
                yield from problems(key_type, key, (*path, key))
                yield from problems(item_type, item, (*path, key))


def _struct(structs: list[Any], value: Mapping[str, Any], path: Keys) -> Iterator[Found]:
    """Check a mapping against a struct, or against that of several which its tag names."""
    tag = structs[0].__struct_config__.tag_field
    if tag is not None:
        by_tag = {struct.__struct_config__.tag: struct for struct in structs}
        if tag not in value:
            yield (*path, tag), f"missing key {_subject((*path, tag))}."
            return
        if type(value[tag]) is not str or value[tag] not in by_tag:
            yield from problems(Literal[tuple(by_tag)], value[tag], (*path, tag))
            return
        structs = [by_tag[value[tag]]]
    fields = {field.encode_name: field for field in msgspec.structs.fields(structs[0])}
    names = [tag, *fields] if tag else [*fields]
    for key, item in value.items():
        if key in fields:
            yield from problems(fields[key].type, item, (*path, key))
        elif key != tag:
            name = key.partition(":")[0]  # {lr:0.1} is a key without its space
            unknown = f"unknown key {_subject((*path, key))}.{did_you_mean(name, names)}"
            yield (*path, key), unknown
    for name, field in fields.items():
        if field.required and name not in value:
            yield (*path, name), f"missing key {_subject((*path, name))}."


def _own(error: ValueError, declared: Any, value: Any, path: Keys) -> Found:
    """Put into words why msgspec, or a ``__post_init__``, refuses a value."""
    if error.__cause__ is not None:
        # the broken rule, and where in the struct; a user's own rule may not say so much
        text, *below = error.__cause__.args or ("a rule in networks.py refuses it",)
        if not isinstance(error.__cause__, ValueError):
            text = f"{type(error.__cause__).__name__}: {text}"
        text = one_line(str(text))
        at = (*path, *(part for part in below if isinstance(part, str)))
        return at, f"{_subject(at)}: {text}." if at else f"{text}."
    subject, said = _subject(path), str(error).partition(" - at ")[0]
    allowed = [item for kind in _types(declared) if get_origin(kind) is Literal
               for item in get_args(kind)]  # fmt: skip
    if said.startswith("Invalid enum value"):
        given = quoted(value) if isinstance(value, str) else value
        return path, f"{subject} cannot be {given}.{did_you_mean(str(value), allowed)}"
    expected = re.fullmatch(r"Expected `(.*?)`(.*?)(, got .*)?", said)
    if expected is None:  # json: NaN or an infinity
        return path, f"{subject} must be a finite number, not {show(value)}."
    words = [_WORDS[name] for name in expected[1].split(" | ")]
    due = " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
    due = f"{due}{expected[2].removesuffix('.0')}"
    if " regex " in due:
        limits = (kind for kind in _types(declared) if isinstance(kind, Meta))
        due = next((limit.description for limit in limits if limit.description), due)
    choices = f" Allowed: {', '.join(map(str, allowed))}." if allowed else ""
    return path, f"{subject} must be {due}, not {show(value)}.{_hint(declared, value)}{choices}"


def _hint(declared: Any, value: Any) -> str:
    """Return what to do where only quotes are missing, or are too many."""
    is_text = isinstance(value, str)
    if not is_text and not isinstance(value, int | float):
        return ""
    try:
        plain_to(declared, plain_value(value) if is_text else str(value))
    except ValueError:
        return ""
    return " Drop the quotes." if is_text else " Quote it."


def _types(declared: Any) -> Iterator[Any]:
    """Yield the types that a declaration allows, and their limits."""
    if get_origin(declared) in {Literal, list, tuple, dict, None}:
        yield declared
    else:
        for argument in get_args(declared):
            yield from _types(argument)


def show(value: Any) -> str:
    """Return a plain value in words, for example ``the text 'fast'`` or ``a list``."""
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, list | dict):
        return f"{'a' if value else 'an empty'} {'list' if isinstance(value, list) else 'mapping'}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"the number {value}"


def _subject(path: Keys) -> str:
    """Return ``'lr' in 'training.optim'`` or ``'seeds[2]'``."""
    cut = max((i for i, part in enumerate(path) if isinstance(part, str)), default=0)
    parent = f" in {quoted(_dotted(path[:cut]))}" if cut else ""
    return f"{quoted(_dotted(path[cut:]))}{parent}"


def _dotted(path: Keys) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")
