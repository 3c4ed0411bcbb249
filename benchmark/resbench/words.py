"""Numbers in words and text on one line, the same in every message and report."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path


def count(number: int, noun: str) -> str:
    """Return ``1 run``, ``2 runs``, ``1,000 runs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a duration in readable units: 42 s, 7 min, 3 h 20 min, 4.5 days, 767 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    days = minutes / 1440
    return f"{days:,.0f} days" if days >= 100 else f"{days:.1f} days"


def invocation(verb: str, results: Path, arguments: Iterable[str] = ()) -> str:
    """Return a command on a results folder as a user can paste it, between backquotes."""
    words = ["resbench", verb, *arguments]
    if results.absolute() != Path("results").absolute():
        words += ["--results", str(results)]
    return f"`{shlex.join(words)}`"


def one_line(error: object) -> str:
    """Return text in which a hostile name or value cannot start a line or change colours."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(error))
