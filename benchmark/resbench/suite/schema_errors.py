"""Plain words for what is wrong with plain values: where, what it is, what is allowed.

msgspec stops at the first error. Here the declared types are walked over the values, so that all
errors of a file are found at once.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from resbench.errors import did_you_mean
from resbench.suite.document import (
    Document,
    DocumentError,
    Keys,
    Problem,
    plain_value,
    quoted,
)
from resbench.suite.spec import plain_to

_Model = TypeVar("_Model", bound=msgspec.Struct)

Found = tuple[Keys, str]
"""The path to the key at fault, which may be missing, and the message."""

_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
    NoneType: "null",
}
_LIMITS: dict[str, tuple[Any, str]] = {
    "gt": (operator.gt, "be greater than {}"),
    "ge": (operator.ge, "be at least {}"),
    "lt": (operator.lt, "be less than {}"),
    "le": (operator.le, "be at most {}"),
    "pattern": (lambda text, pattern: re.search(pattern, text), "match {}"),
    "min_length": (lambda value, least: len(value) >= least, "have a length of at least {}"),
    "max_length": (lambda value, most: len(value) <= most, "have a length of at most {}"),
}


def validate(model: type[_Model], document: Document) -> _Model:
    """Check a document against a model, strictly and as JSON: no text becomes a number.

    Raises:
        DocumentError: every error of the model.
    """
    try:
        return plain_to(model, document.value)
    except ValueError:
        found = problems(model, document.value)
        raise DocumentError(Problem(document.at(keys), text) for keys, text in found) from None


def problems(declared: Any, value: Any, path: Keys = ()) -> Iterator[Found]:
    """Yield everything that keeps a plain value from being one of a declared type."""
    members = list(_members(declared))
    kinds = [kind for kind, _ in members]
    kind, limits = next((m for m in members if _is_of(m[0], value)), (None, None))
    structs = [kind for kind in kinds if _is_struct(kind)]
    if kind is None:
        allowed = [item for kind in kinds if get_origin(kind) is Literal for item in get_args(kind)]
        yield path, _wrong_choice(path, allowed, value) if allowed else _wrong(path, kinds, value)
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"{_subject(path)} must be a finite number, not {show(value)}."
    elif limits and (rule := _broken(limits, value)):
        given = len(value) if "length" in rule else show(value)
        yield path, f"{_subject(path)} must {rule}, not {given}."
    elif isinstance(value, dict) and structs:
        yield from _struct(structs, value, path)
    elif isinstance(value, dict) and get_args(kind):
        yield from _entries(get_args(kind), value, path)
    elif isinstance(value, list) and get_args(kind):
        for i, item in enumerate(value):
            yield from problems(get_args(kind)[0], item, (*path, i))


def _struct(structs: list[Any], value: Mapping[str, Any], path: Keys) -> Iterator[Found]:
    """Check a mapping against a struct, or against that of several which its tag names."""
    tag = structs[0].__struct_config__.tag_field
    if tag is not None:
        by_tag = {struct.__struct_config__.tag: struct for struct in structs}
        if tag not in value:
            yield (*path, tag), f"missing key {_subject((*path, tag))}."
            return
        if type(value[tag]) is not str or value[tag] not in by_tag:
            yield (*path, tag), _wrong_choice((*path, tag), [*by_tag], value[tag])
            return
        structs = [by_tag[value[tag]]]
    fields = {field.encode_name: field for field in msgspec.structs.fields(structs[0])}
    names = [tag, *fields] if tag else [*fields]
    found: list[Found] = []
    for key, item in value.items():
        if key in fields:
            found += problems(fields[key].type, item, (*path, key))
        elif key != tag:
            name = key.partition(":")[0]  # {lr:0.1} is a key without its space
            unknown = f"unknown key {_subject((*path, key))}.{did_you_mean(name, names)}"
            found.append(((*path, key), unknown))
    for name, field in fields.items():
        if field.required and name not in value:
            found.append(((*path, name), f"missing key {_subject((*path, name))}."))
    yield from found or _rules(structs[0], value, path)


def _rules(struct: Any, value: Mapping[str, Any], path: Keys) -> Iterator[Found]:
    """Yield the broken rule over several values, which ``__post_init__`` raises with its place."""
    try:
        plain_to(struct, value)
    except ValueError as error:
        text, *below = error.__cause__.args if error.__cause__ else error.args
        place = (*path, *below)
        text = " ".join(str(text).split()).rstrip(".")
        yield place, f"{_subject(place)}: {text}." if place else f"{text}."


def _entries(declared: Any, value: Mapping[str, Any], path: Keys) -> Iterator[Found]:
    """Check the keys and the values of a mapping that is no struct."""
    keys, items = declared
    (kind, limits), *_ = _members(keys)
    for key, item in value.items():
        place = (*path, key)
        if get_origin(kind) is Literal and key not in get_args(kind):
            yield place, f"unknown key {_subject(place)}.{did_you_mean(key, get_args(kind))}"
        elif limits and (rule := _broken(limits, key)):
            yield place, f"key {_subject(place)} must {rule}."
        else:
            yield from problems(items, item, place)


def _members(declared: Any, limits: Meta | None = None) -> Iterator[tuple[Any, Meta | None]]:
    """Yield the types that a declaration allows, each with its limits."""
    arguments = get_args(declared)
    if get_origin(declared) is Annotated:
        yield from _members(arguments[0], arguments[1])
    elif get_origin(declared) in {Union, UnionType}:
        for argument in arguments:
            yield from _members(argument)
    else:
        yield declared, limits


def _is_of(kind: Any, value: Any) -> bool:
    if get_origin(kind) is Literal:
        return any(type(item) is type(value) and item == value for item in get_args(kind))
    return kind is Any or type(value) is _plain(kind) or (kind is float and type(value) is int)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _plain(kind: Any) -> type:
    """Return the type of the plain values that may become this type."""
    if _is_struct(kind):
        return dict
    origin = get_origin(kind) or kind
    return list if origin is tuple else origin


def _broken(limits: Meta, value: Any) -> str | None:
    """Return the first limit that a value of the right type breaks, as ``be at least 0``."""
    for name, (holds, words) in _LIMITS.items():
        limit = getattr(limits, name)
        if limit is not None and not holds(value, limit):
            said = (limits.extra or {}).get("words") if name == "pattern" else None
            return said or words.format(limit)
    return None


def _wrong_choice(path: Keys, allowed: list[Any], value: Any) -> str:
    if type(value) not in map(type, allowed):
        names = [str(item) for item in allowed]
        kinds = list(dict.fromkeys(map(type, allowed)))
        return f"{_wrong(path, kinds, value, str(value) in names)} Allowed: {', '.join(names)}."
    given = quoted(value) if isinstance(value, str) else value
    return f"{_subject(path)} cannot be {given}.{did_you_mean(str(value), allowed)}"


def _wrong(path: Keys, kinds: list[Any], value: Any, with_hint: bool = True) -> str:
    words = list(dict.fromkeys(_WORDS[_plain(kind)] for kind in kinds))
    if _WORDS[float] in words and _WORDS[int] in words:
        words.remove(_WORDS[int])
    choices = " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
    hint = _hint(kinds, value) if with_hint else ""
    return f"{_subject(path)} must be {choices}, not {show(value)}.{hint}"


def _hint(kinds: list[Any], value: Any) -> str:
    if not isinstance(value, str):
        return " Quote it." if isinstance(value, int | float) and str in kinds else ""
    plain = plain_value(value)
    return " Drop the quotes." if any(_is_of(kind, plain) for kind in kinds) else ""


def show(value: Any) -> str:
    """Return a plain value in words, for example ``the text 'fast'`` or ``a list``."""
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    return _WORDS[type(value)]


def _subject(path: Keys) -> str:
    """Return ``'lr' in 'training.optim'``, ``'seeds[2]'``, or words for the document itself."""
    if not path:
        return "the document"
    cut = max((i for i, part in enumerate(path) if isinstance(part, str)), default=0)
    parent = f" in {quoted(_dotted(path[:cut]))}" if cut else ""
    return f"{quoted(_dotted(path[cut:]))}{parent}"


def _dotted(path: Keys) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")
