"""What of YAML 1.2 a suite may use: plain scalars, characters, and plain words for syntax errors.

Values follow the core schema (YAML 1.2.2, 10.3.2) with every spelling refused that people or other
readers take for something else: ``010``, ``0x1F``, ``True``, ``.nan``. ``no``, ``on``, dates and
``1:30`` are text, as YAML 1.2 says.
"""

from __future__ import annotations

import math
import re
from typing import Any

Scalar = str | int | float | bool | None

NOT_SUPPORTED = "{what} are not supported in a suite. {instead}"
ANCHORS = NOT_SUPPORTED.format(
    what="anchors ('&name') and aliases ('*name')",
    instead="Write the value out, or quote it if it is text.",
)
MERGE_KEYS = NOT_SUPPORTED.format(what="merge keys ('<<')", instead="Write the settings out.")
TAGS = NOT_SUPPORTED.format(
    what="tags ('!name')", instead="Delete the tag, or quote the value if it is text."
)
DIRECTIVES = NOT_SUPPORTED.format(
    what="directives ('%NAME')", instead="Delete the line that starts with '%'."
)
KEYS = "a key must be text, not {}. Quote it."
SECOND = "a second document starts here. Keep one document a file."
TAB_INDENT = "a tab in the indentation. Use spaces."

ILLEGAL = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Control characters, lone surrogates, U+FEFF, and the line breaks that only some readers know."""
_DIRECTIVE = re.compile(r"(?:[ \t]*+(?:#[^\r\n]*+)?+[\r\n]++)*+%")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|([0-9]+)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_OTHER_BASE = re.compile(r"[-+]?0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

_UNFINISHED = {
    r"could not find expected ':'": "this line is neither 'key: value' nor '- item'. "
    "Add the ':' or check the indentation.",
    r"quoted scalar found unexpected": "the quote opened here is never closed. Close it.",
    r"flow (sequence|mapping) .*<stream end>": "the bracket opened here is never closed. Close it.",
}
"""Words of PyYAML's messages, and ours; the place is where the construct began."""
_SYNTAX = {
    r"found character '\\t'": "a tab between words. Use spaces.",
    r"cannot start any token|mapping keys are not": "text cannot start like this. Quote it.",
    r"mapping values are not|unexpected ':'": "no ':' can stand here. "
    "Quote the text if it holds ': ', or check the indentation.",
    r"<block end>, but found ':'": KEYS.format("null"),
    r"<block end>|<document start>|document end marker": "this does not continue the lines above. "
    "Check the indentation, the quotes and the brackets.",
    r"expected ',' or": "a ',' or the closing bracket is missing before this. Add it.",
    r"sequence entries are not": "no list can start here. "
    "Put '- ' on a new line below its key, or quote the text.",
    r"escape (character|sequence)|C int|chr\(\)": "unknown escape in double quotes. "
    r"Write '\\' for a backslash, or use single quotes.",
    r"block scalar": "text after '|' or '>' starts on the next line. Move it there, or quote it.",
    r"the node content": "a value is missing here. Write it, and check the brackets.",
    r"directive|YAML document|duplicate tag|version minor": DIRECTIVES,
    r"\btag\b": TAGS,
    r"anchor|alias": ANCHORS,
}
"""The same, where the place is that of the problem itself."""


def plain_value(text: str) -> Scalar:
    """Return the value of an unquoted scalar.

    Raises:
        ValueError: the text is ambiguous or out of range; its message says what to write.
    """
    if text in {"", "~", "null"}:
        return None
    if text in {"true", "false"}:
        return text == "true"
    if text in {"Null", "NULL", "True", "TRUE", "False", "FALSE"}:
        raise ValueError(f"write '{text.lower()}' for {text}, or quote it if it is text.")
    if text == "<<":
        raise ValueError(MERGE_KEYS)
    if _OTHER_BASE.fullmatch(text):
        raise ValueError(
            f"{quoted(text)} is a number only to some readers. Write it in decimal, or quote it."
        )
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number. Write a number, or quote it.")
    number = _NUMBER.fullmatch(text)
    return text if number is None else _number(text, *number.groups())


def _number(text: str, digits: str | None, fraction: str | None, exponent: str | None) -> Scalar:
    if digits is not None and len(digits) > 1 and digits[0] == "0":
        raise ValueError(
            f"{quoted(text)} starts with 0, which some readers take as base 8. "
            "Drop the zero, or quote it if it is text."
        )
    if digits is not None and fraction is None and exponent is None:
        if len(digits) > 18:
            raise ValueError(f"{quoted(text)} is too large a number. Quote it if it is text.")
        return int(text)
    value = float(text)
    vanished = value == 0 and re.search("[1-9]", re.split("[eE]", text)[0])
    if math.isinf(value) or vanished:
        raise ValueError(f"{quoted(text)} is outside the range of numbers. Quote it if it is text.")
    return value


def first_illegal(text: str) -> tuple[int, str] | None:
    """Return the index of the first character that a suite must not hold, and what to do."""
    found = []
    if tab := re.search(r"(?<![^\r\n]) *\t", text):
        found.append((tab.end() - 1, TAB_INDENT))
    if directive := _DIRECTIVE.match(text):
        found.append((directive.end() - 1, DIRECTIVES))
    if character := ILLEGAL.search(text):
        found.append((character.start(), illegal_character(character[0], character.start() == 0)))
    return min(found, default=None)


def illegal_character(character: str, is_first: bool = False) -> str:
    """Say what is wrong with a character that :data:`ILLEGAL` matched."""
    if character == "\ufeff" and is_first:
        return "the file starts with a byte order mark. Save it as UTF-8 without one."
    return f"the character U+{ord(character):04X} is not allowed. Delete it."


def explain_syntax(error: Exception) -> tuple[Any, str]:
    """Return PyYAML's mark of a syntax error, None when it gives none, and plain words."""
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    whole = f"{getattr(error, 'context', None) or ''} {problem}"
    for mark, table in (("context_mark", _UNFINISHED), ("problem_mark", _SYNTAX)):
        for words, message in table.items():
            if re.search(words, whole):
                return getattr(error, mark, None), message
    return getattr(error, "problem_mark", None), f"this is not YAML: {problem}."


def quoted(text: str) -> str:
    """Return text in quotes on one line, cut to 60 characters."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
