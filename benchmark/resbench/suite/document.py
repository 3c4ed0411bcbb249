"""Strict reading of suite files: plain values, and for each of them its place in the file.

The file is read as a stream of events from PyYAML's parsers, without their constructors and their
rules for scalars, and built up on an explicit stack: nothing recurses, no tag can make an object,
and the limits hold while reading. All problems of a file are reported at once, one line each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from msgspec import Struct
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from resbench.errors import UsageError
from resbench.suite import yaml_rules
from resbench.suite.schema_errors import Keys, problems, show
from resbench.suite.spec import plain_to

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000

_Model = TypeVar("_Model", bound=Struct)
_LOADERS = [getattr(yaml, name) for name in ("CSafeLoader", "SafeLoader") if hasattr(yaml, name)]
"""libyaml where PyYAML has it, and the slow parser in Python, whose errors can be explained."""


@dataclass(frozen=True)
class Position:
    """A place in a file; lines and columns count from 1, line 0 is all of it (an option)."""

    file: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else str(self.file)


@dataclass(frozen=True)
class Problem:
    """What is wrong at one place, why, and what to do."""

    position: Position
    message: str

    def __str__(self) -> str:
        return f"{self.position}: {self.message}"


class DocumentError(UsageError):
    """A file that is no valid document: all its problems in reading order, one line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        def order(problem: Problem) -> tuple[str, int, int]:
            place = problem.position
            return str(place.file), place.line, place.column

        self.problems = tuple(sorted(dict.fromkeys(problems), key=order))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


@dataclass(frozen=True)
class Document:
    """A YAML file as plain values, with the position of every key and list item."""

    path: Path
    value: dict[str, Any]
    """Only dict, list, str, int, float, bool and None; numbers are finite."""
    positions: Mapping[Keys, Position] = field(repr=False)
    """By path, for example ``("seeds", 0)``; the empty path is the start of the document."""

    def at(self, path: Keys) -> Position:
        """Return the position of a path, or of the nearest known place that encloses it."""
        while path not in self.positions:
            path = path[:-1]
        return self.positions[path]


def load_document(path: Path) -> Document:
    """Read one YAML file.

    Raises:
        DocumentError: every problem of the text.
        UsageError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot read this file: {reason}. Check the path.") from None
    if len(data) > MAX_BYTES:
        raise _too_large(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        place = _locate(data[: error.start].decode(), path)
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8. Save the file as UTF-8."
        raise _stop(place, message) from None
    return parse_document(text, path)


def parse_document(text: str, path: Path) -> Document:
    """Read YAML text; ``path`` is only named in positions.

    Raises:
        DocumentError: every problem of the text.
    """
    if len(text) > MAX_BYTES:
        raise _too_large(path)
    if illegal := yaml_rules.first_illegal(text):
        index, message = illegal
        raise _stop(_locate(text[:index], path), message)
    for loader in _LOADERS[-1:] if "\t" in text else _LOADERS:  # libyaml takes tabs for spaces
        builder = _Builder(path)
        try:
            for event in yaml.parse(text, loader):
                builder.feed(event)
            return builder.finish()
        except DocumentError as stop:  # a limit, after which the rest must not be read
            raise DocumentError([*builder.problems, *stop.problems]) from None
        except Exception as error:  # beside YAMLError the scanner lets ValueError and others escape
            mark, message = yaml_rules.explain_syntax(error)
            if isinstance(builder.last, DocumentEndEvent) and builder.last.explicit:
                message = yaml_rules.SECOND
            problem = Problem(_position(path, mark or builder.last.end_mark), message)
            refused = DocumentError([*builder.problems, problem])
    raise refused


def validate(
    model: type[_Model],
    document: Document,
    *,
    value: Any = None,
    at: Callable[[Keys], Position] | None = None,
) -> _Model:
    """Check plain values against a model, strictly and as JSON: no text becomes a number.

    Args:
        model: the class to make of it.
        document: gives the value and the positions.
        value: checked in place of ``document.value`` when given.
        at: gives the position of a path of ``value``; ``document.at`` by default.

    Raises:
        DocumentError: every error of the model.
    """
    value = document.value if value is None else value
    try:
        return plain_to(model, value)
    except ValueError as error:
        found = list(problems(model, value)) or [((), f"{error}.")]
    raise DocumentError(Problem((at or document.at)(keys), message) for keys, message in found)


def _stop(place: Position, message: str) -> DocumentError:
    return DocumentError([Problem(place, message)])


def _too_large(path: Path) -> DocumentError:
    return _stop(
        Position(path, 1, 1), f"the file is larger than {MAX_BYTES // 1024} KiB. Split it."
    )


def _locate(before: str, path: Path) -> Position:
    """Return the position just after ``before``."""
    lines = re.split(r"\r\n|\r|\n", before)
    return Position(path, len(lines), len(lines[-1]) + 1)


def _position(path: Path, mark: Any) -> Position:
    return Position(path, mark.line + 1, mark.column + 1)


@dataclass
class _Open:
    """A mapping or list whose end is still to come."""

    place: Position
    path: Keys
    value: Any
    key: str | None = None
    """The key whose value comes next; None in a mapping that waits for a key, and in a list."""

    @property
    def waits_for_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is None


class _Builder:
    """Builds values and positions from events.

    After a problem it goes on with a stand-in, only to find further problems.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root: Any = None
        self.open: list[_Open] = []
        self.positions: dict[Keys, Position] = {}
        self.problems: list[Problem] = []
        self.nodes = 0
        self.documents = 0
        self.last: Any = None
        """The last event."""

    def feed(self, event: Event) -> None:
        """Take the next event; raises DocumentError when the rest must not be read."""
        self.last = event
        place = _position(self.path, event.start_mark)
        if isinstance(event, DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise _stop(place, yaml_rules.SECOND)
        elif isinstance(event, NodeEvent):
            self._node(event, place)
        elif isinstance(event, CollectionEndEvent):
            done = self.open.pop()
            self._add(done.value, done.place)

    def finish(self) -> Document:
        """Return the document; raises DocumentError with all problems found."""
        if not self.problems and not isinstance(self.root, dict):
            what = "is empty" if self.root is None else "is not a mapping at its top level"
            place = self.positions.get((), Position(self.path, 1, 1))
            self._report(place, f"the file {what}. Write 'key: value' lines.")
        if self.problems:
            raise DocumentError(self.problems)
        return Document(self.path, self.root, self.positions)

    def _node(self, event: NodeEvent, place: Position) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _stop(place, f"more than {MAX_NODES} values in one file. Split it.")
        path = self._next_path()
        if not (self.open and self.open[-1].waits_for_key):
            self.positions.setdefault(path, place)  # a mapping's entry keeps the place of its key
        if isinstance(event, AliasEvent):
            self._report(place, yaml_rules.ANCHORS)
            self._add(f"*{event.anchor}", place)
            return
        if event.anchor is not None:
            self._report(place, yaml_rules.ANCHORS)
        assert isinstance(event, ScalarEvent | CollectionStartEvent)
        if event.tag is not None:
            self._report(place, yaml_rules.TAGS)
        if isinstance(event, ScalarEvent):
            self._add(self._scalar(event, place), place)
        else:
            empty: Any = {} if isinstance(event, MappingStartEvent) else []
            self.open.append(_Open(place, path, empty))
            if len(self.open) > MAX_DEPTH:
                raise _stop(place, f"nested deeper than {MAX_DEPTH} levels. Flatten it.")

    def _next_path(self) -> Keys:
        if not self.open:
            return ()
        parent = self.open[-1]
        if isinstance(parent.value, list):
            return (*parent.path, len(parent.value))
        return (*parent.path, parent.key or "")

    def _scalar(self, event: ScalarEvent, place: Position) -> yaml_rules.Scalar:
        if not event.style and event.tag is None:
            try:
                return yaml_rules.plain_value(event.value)
            except ValueError as error:
                self._report(place, str(error))
        elif illegal := yaml_rules.ILLEGAL.search(event.value):
            self._report(place, yaml_rules.illegal_character(illegal[0]))
        return event.value

    def _add(self, value: Any, place: Position) -> None:
        """Put a complete value where it belongs: the root, a list, or a mapping's key or value."""
        if not self.open:
            self.root = value
            return
        parent = self.open[-1]
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is None:
            parent.key = self._key(parent, value, place)
        else:
            parent.value[parent.key] = value
            parent.key = None

    def _key(self, parent: _Open, key: Any, place: Position) -> str:
        if not isinstance(key, str):
            self._report(place, yaml_rules.KEYS.format(show(key)))
            key = str(place)  # a stand-in that differs from every other
        if key in parent.value:
            first = self.positions[(*parent.path, key)]
            self._report(
                place,
                f"duplicate key {yaml_rules.quoted(key)}, first at line {first.line}, "
                f"column {first.column}. Keep one.",
            )
        else:
            self.positions[(*parent.path, key)] = place
        return key

    def _report(self, place: Position, message: str) -> None:
        self.problems.append(Problem(place, message))
