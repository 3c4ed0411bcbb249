"""Strict reading of suite files: plain values, and for each of them its position in the file.

PyYAML only splits the text into events; its constructors and its rules for scalars stay unused. So
no tag creates an object and no alias grows into a gigabyte. Only decimal numbers, ``true``,
``false`` and ``null`` are read as such; every other word is text. Where the schema expects a number
or a truth value, it refuses text such as ``010``, ``0x1F``, ``.nan``, ``yes`` and ``on``.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from resbench.errors import UsageError

Keys = tuple[str | int, ...]
"""The path to a value: keys of mappings and indices of lists."""
Found = tuple[Keys, str]
"""The path to the key at fault, which may be missing, and the message."""

MAX_BYTES = 64 * 1024
"""Ten times the longest suite. It also bounds the number of values."""
MAX_DEPTH = 32
"""Reading recurses: without a limit a hostile file could end the process."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"[-+]?(?:(0|[1-9]\d{0,17})(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_CONTROL = "\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff"
_IN_TEXT = re.compile(f"[{_CONTROL}]")
_IN_FILE = re.compile(f"(?!\r)[{_CONTROL}\t\xa0\u1680\u2000-\u200d\u202f\u205f\u3000]")
"""What looks like a space but is not one may be in a file only as an escape in double quotes."""
_NO_ANCHORS = (
    "anchors (&) and aliases (*) are not supported. Write the value out, or quote it if it is text."
)
_NO_TAGS = "tags (!) are not supported. Delete the tag, or quote the value if it is text."
_SYNTAX_HINT = "Check the indentation, quotes and brackets; quote text that holds ': '."


@dataclass(frozen=True, order=True)
class Position:
    """A location in a file; lines and columns count from 1, line 0 means an option."""

    file: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else str(self.file)


@dataclass(frozen=True)
class Problem:
    """What is wrong at one position, why, and what to do."""

    position: Position
    message: str

    def __str__(self) -> str:
        return f"{self.position}: {self.message}"


class DocumentError(UsageError):
    """A file that is not a valid document: all its problems in reading order, one line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(dict.fromkeys(problems), key=lambda p: p.position))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


@dataclass(frozen=True)
class YamlDocument:
    """A YAML file as plain values, with the position of every key and list item."""

    path: Path
    value: dict[str, Any]
    """Only dict, list, str, int, float, bool and None."""
    positions: Mapping[Keys, Position] = field(repr=False)
    """By path, for example ``("seeds", 0)``; the empty path is the start of the document."""

    def at(self, path: Keys) -> Position:
        """Return the position of a path, or of the nearest known one that encloses it."""
        while path not in self.positions:
            path = path[:-1]
        return self.positions[path]

    def error(self, found: Iterable[Found]) -> DocumentError:
        """Return an error with the positions of these paths."""
        return DocumentError(Problem(self.at(path), text) for path, text in found)


def load_document(path: Path) -> YamlDocument:
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
        message = f"the file is larger than {MAX_BYTES // 1024} KiB. Split it."
        raise _refused(Position(path, 1, 1), message)
    try:
        return parse_document(data.decode(), path)
    except UnicodeDecodeError as error:
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8. Save the file as UTF-8."
        raise _refused(_end_of(data[: error.start].decode(), path), message) from None


def parse_document(text: str, path: Path) -> YamlDocument:
    """Read YAML text; ``path`` is only named in positions.

    Raises:
        DocumentError: every problem of the text.
    """
    if found := _IN_FILE.search(text):
        raise _refused(_end_of(text[: found.start()], path), _forbidden(found[0]))
    reader = _Reader(path)
    try:
        reader.read(yaml.parse(text, _LOADER))
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: defects of PyYAML
        reader.problems.append(_not_yaml(error, text, path))
    except RecursionError:
        pass  # reported already
    if reader.problems:
        raise DocumentError(reader.problems)
    return YamlDocument(path, reader.value, reader.positions)


def plain_value(text: str) -> str | int | float | bool | None:
    """Return what an unquoted word means."""
    if text in {"", "~", "null"}:
        return None
    if text in {"true", "false"}:
        return text == "true"
    if not (number := _NUMBER.fullmatch(text)):
        return text
    if number[1] and not number[2] and not number[3]:
        return int(text)
    return float(text) if math.isfinite(float(text)) else text


class _Reader:
    """Builds values from parser events and notes the position of each.

    After a problem it continues, to find further problems.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.value: Any = None
        self.positions: dict[Keys, Position] = {}
        self.problems: list[Problem] = []

    def read(self, events: Iterator[yaml.Event]) -> None:
        """Read the whole stream; raises RecursionError for one that is nested too deep."""
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if self.positions:
                    self._report(event, "a second document starts here. Keep one in a file.")
                elif event.version or event.tags:
                    self._report(event, "directives are not supported. Delete the '%' lines.")
            elif isinstance(event, yaml.NodeEvent):
                self.value = self._value(event, events, ())
        if not self.problems and not isinstance(self.value, dict):
            what = "is empty" if self.value is None else "is not a mapping at its top level"
            position = self.positions.get((), Position(self.path, 1, 1))
            self.problems.append(Problem(position, f"the file {what}. Write 'key: value' lines."))

    def _value(self, event: yaml.NodeEvent, events: Iterator[yaml.Event], path: Keys) -> Any:
        """Return the value that starts with an event, reading on to its end."""
        self.positions.setdefault(path, self._at(event))  # an entry keeps the position of its key
        if event.anchor is not None:
            self._report(event, _NO_ANCHORS)
        if getattr(event, "tag", None) is not None:
            self._report(event, _NO_TAGS)
        if isinstance(event, yaml.AliasEvent):
            return None
        if isinstance(event, yaml.ScalarEvent):
            if found := _IN_TEXT.search(event.value):  # by an escape in double quotes
                self._report(event, _forbidden(found[0]))
            return event.value if event.style else plain_value(event.value)
        if len(path) >= MAX_DEPTH:
            self._report(event, f"nested deeper than {MAX_DEPTH} levels. Flatten it.")
            raise RecursionError
        read = self._list if isinstance(event, yaml.SequenceStartEvent) else self._mapping
        return read(events, path)

    def _list(self, events: Iterator[yaml.Event], path: Keys) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._value(event, events, (*path, len(items))))
        return items

    def _mapping(self, events: Iterator[yaml.Event], path: Keys) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if isinstance(event, yaml.ScalarEvent):
                key = event.value  # a key is always text
            else:
                key = str(self._at(event))
                self._report(event, "a key must be text. Quote it.")
            if key in entries:
                first = self.positions[(*path, key)]
                where = f"line {first.line}, column {first.column}"
                self._report(event, f"duplicate key {quoted(key)}, first at {where}. Keep one.")
            self._value(event, events, (*path, key))  # for its position and its problems
            entries[key] = self._value(next(events), events, (*path, key))
        return entries

    def _at(self, event: yaml.Event) -> Position:
        return Position(self.path, event.start_mark.line + 1, event.start_mark.column + 1)

    def _report(self, event: yaml.Event, message: str) -> None:
        self.problems.append(Problem(self._at(event), message))


def quoted(text: str) -> str:
    """Return text in quotes on one line, cut to 60 characters."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _refused(position: Position, message: str) -> DocumentError:
    return DocumentError([Problem(position, message)])


def _end_of(text: str, path: Path) -> Position:
    lines = re.split(r"\r\n|\r|\n", text)
    return Position(path, len(lines), len(lines[-1]) + 1)


def _forbidden(character: str) -> str:
    names = {"\t": "tab", "\ufeff": "byte order mark"}
    name = names.get(character) or unicodedata.name(character, "").lower()
    is_blank = character == "\t" or unicodedata.category(character) == "Zs"
    remedy = "Write spaces." if is_blank else "Delete it."
    return f"the character U+{ord(character):04X}{name and f' ({name})'} is not allowed. {remedy}"


def _not_yaml(error: Exception, text: str, path: Path) -> Problem:
    """Return a syntax error in PyYAML's words, with the construct that it is in."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem(Position(path, 1, 1), f"this is not YAML: {error}. {_SYNTAX_HINT}")
    end, start = error.problem_mark, error.context_mark
    said = " ".join(str(error.problem).split())
    if start and start.index != end.index:
        said += f" {error.context} that starts at line {start.line + 1}, column {start.column + 1}"
    return Problem(_end_of(text[: end.index], path), f"this is not YAML: {said}. {_SYNTAX_HINT}")
