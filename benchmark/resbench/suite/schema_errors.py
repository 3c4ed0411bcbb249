"""Plain words for pydantic's errors: where in the document, what is wrong, what is allowed.

pydantic names a place by its ``loc``, which also holds the branch of a union that it tried. Here
the model's annotations are walked along it, to drop those segments and to find what is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from resbench.errors import did_you_mean
from resbench.suite.yaml_rules import plain_value, quoted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Keys = tuple[str | int, ...]

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
    NoneType: "null",
}
_LIMITS = {
    "greater_than": "be greater than {gt}",
    "greater_than_equal": "be at least {ge}",
    "less_than": "be less than {lt}",
    "less_than_equal": "be at most {le}",
    "finite_number": "be a finite number",
    "string_pattern_mismatch": "match {pattern}",
    "string_too_short": "have a length of at least {min_length}",
    "string_too_long": "have a length of at most {max_length}",
    "too_short": "have a length of at least {min_length}",
    "too_long": "have a length of at most {max_length}",
}


@dataclass(frozen=True)
class _Place:
    path: Keys
    declared: Any
    """The annotation of the value at ``path``; of the key itself when ``is_key``."""
    owner: Any = None
    """The annotation of the mapping or list that holds it."""
    is_key: bool = False
    in_union: bool = False
    """Whether pydantic tried this as one of several untagged types."""


def explain(model: type[BaseModel], error: ErrorDetails) -> tuple[Keys, str] | None:
    """Return the path and the message of one pydantic error; None when another error says it.

    The path leads to the key at fault, or for a missing key to the mapping that lacks it.
    """
    place, kind, value = _follow(model, error["loc"]), error["type"], error["input"]
    path, context = place.path, {k: _whole(v) for k, v in error.get("ctx", {}).items()}
    subject = f"key {_subject(path)}" if place.is_key else _subject(path)
    if kind == "missing":
        return path[:-1], f"missing key {subject}."
    if kind == "extra_forbidden":
        name = str(path[-1]).partition(":")[0]  # {lr:0.1} is a key without its space
        return path, f"unknown key {subject}.{did_you_mean(name, _names(place.owner))}"
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return _explain_tag(place, context["discriminator"].strip("'"), value)
    if kind == "literal_error":
        allowed = list(get_args(_bare(place.declared)[0]))
        if place.is_key:
            return path, f"unknown {subject}.{did_you_mean(str(path[-1]), allowed)}"
        return path, _explain_literal(subject, allowed, value)
    if kind.endswith("_type") and (wanted := _words(place.declared)):
        if place.in_union and _accepts(wanted, value):
            return None  # the branch of that kind says what is wrong inside
        return path, f"{_explain_type(subject, wanted, value)}{_hint(wanted, value)}"
    if kind == "too_short" and len(value) >= context["min_length"]:
        return None  # pydantic counts only the valid items; the others have their own errors
    if kind in _LIMITS:
        rule = _LIMITS[kind].format(**context)
        return path, _explain_limit(subject, rule, place.is_key, value)
    if kind in {"value_error", "assertion_error"}:
        text = " ".join(str(context["error"]).split()).rstrip(".")
        return path, f"{subject}: {text}." if path else f"{text}."
    return path, f"{subject}: {error['msg'][:1].lower()}{error['msg'][1:]}."


def _explain_tag(place: _Place, name: str, value: Any) -> tuple[Keys, str]:
    path = (*place.path, name)
    if name not in value:
        return place.path, f"missing key {_subject(path)}."
    members = _members(_bare(place.declared)[0])
    tags = [tag for member in members for tag in get_args(_field(member, name))]
    return path, _explain_literal(_subject(path), tags, value[name])


def _explain_literal(subject: str, allowed: list[Any], value: Any) -> str:
    if type(value) not in map(type, allowed):
        wanted = list(dict.fromkeys(map(_word, allowed)))
        names = [str(item) for item in allowed]
        hint = _hint(wanted, value) if str(value) in names else ""
        return f"{_explain_type(subject, wanted, value)}{hint} Allowed: {', '.join(names)}."
    given = quoted(value) if isinstance(value, str) else value
    return f"{subject} cannot be {given}.{did_you_mean(str(value), allowed)}"


def _explain_limit(subject: str, rule: str, is_key: bool, value: Any) -> str:
    given = str(len(value)) if "length" in rule else show(value)
    return f"{subject} must {rule}{'' if is_key else f', not {given}'}."


def _explain_type(subject: str, wanted: list[str], value: Any) -> str:
    choices = " or ".join([", ".join(wanted[:-1]), wanted[-1]] if wanted[1:] else wanted)
    return f"{subject} must be {choices}, not {show(value)}."


def _hint(wanted: list[str], value: Any) -> str:
    if not isinstance(value, str):
        return " Quote it." if isinstance(value, int | float) and "text" in wanted else ""
    try:
        return " Drop the quotes." if _accepts(wanted, plain_value(value)) else ""
    except ValueError:
        return ""


def _accepts(wanted: list[str], value: Any) -> bool:
    return _word(value) in wanted or (_word(value) == _WORDS[int] and _WORDS[float] in wanted)


def _follow(model: type[BaseModel], loc: Keys) -> _Place:
    """Walk the annotations along ``loc``, dropping the segments that name a branch of a union."""
    place = _Place((), model)
    here: Any = model
    for segment in loc:
        here, discriminator = _bare(here)
        if segment == "[key]" and get_origin(place.owner) is dict:
            return _Place(place.path, get_args(place.owner)[0], place.owner, is_key=True)
        if members := _members(here):
            here = _branch(members, str(segment), discriminator)
            if discriminator is None:
                place = _Place(place.path, place.declared, place.owner, in_union=True)
            continue
        owner, here = here, _child(here, segment)
        place = _Place((*place.path, segment), here, owner)
    return place


def _bare(annotation: Any) -> tuple[Any, str | None]:
    """Strip ``Annotated`` and ``None``; also return the discriminator of a tagged union."""
    discriminator = None
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *marks = get_args(annotation)
            for mark in marks:
                discriminator = getattr(mark, "discriminator", None) or discriminator
        elif len(members := _members(annotation)) == 1:
            annotation = members[0]
        else:
            return annotation, discriminator


def _members(annotation: Any) -> list[Any]:
    is_union = get_origin(annotation) in {Union, UnionType}
    return [item for item in get_args(annotation) if item is not NoneType] if is_union else []


def _branch(members: list[Any], label: str, discriminator: str | None) -> Any:
    for member in members:
        if discriminator is None and label in {getattr(member, "__name__", None), str(member)}:
            return member
        if discriminator is not None and label in get_args(_field(member, discriminator)):
            return member
    return Any


def _child(owner: Any, segment: str | int) -> Any:
    """Return the annotation of one entry of a model, dict, list or tuple; Any when unknown."""
    arguments = get_args(owner)
    if get_origin(owner) is dict:
        return arguments[1]
    if get_origin(owner) in {list, tuple} and arguments:
        return arguments[0]
    return _field(owner, str(segment))


def _field(owner: Any, name: str) -> Any:
    """Return the annotation of a model's field, with its discriminator; Any when it has none."""
    field = getattr(owner, "model_fields", {}).get(name)
    return (
        Any
        if field is None
        else Annotated[field.annotation, field]
        if field.discriminator
        else field.annotation
    )


def _names(owner: Any) -> list[str]:
    return [field.alias or name for name, field in getattr(owner, "model_fields", {}).items()]


def _words(annotation: Any) -> list[str]:
    """Return the kinds of value that an annotation allows, in plain words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0])
    if origin in {Union, UnionType}:
        words = [word for item in arguments for word in _words(item)]
    elif origin is Literal:
        words = [_word(item) for item in arguments]
    else:
        is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        kind = dict if is_model else origin or annotation
        words = [_WORDS[kind]] if kind in _WORDS else []
    if "a number" in words:
        words = [word for word in words if word != "a whole number"]
    return list(dict.fromkeys(words))


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _word(value: Any) -> str:
    return _WORDS[type(value)]


def show(value: Any) -> str:
    """Return a plain value in words, for example ``the text 'fast'`` or ``a list``."""
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    return _word(value)


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
