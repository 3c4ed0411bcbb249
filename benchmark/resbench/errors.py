"""Errors a user can cause, and the exit codes of every command.

A :class:`ResbenchError` reaches the user as one line per problem, without a traceback: where, what,
why, and what to do. Any other exception that reaches the user is a defect of resbench.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes; signals end with 128 + their number (130, 143)."""

    OK = 0
    RUNS_FAILED = 1
    USAGE = 2
    ENVIRONMENT = 3
    NOT_REPRODUCED = 4


class ResbenchError(Exception):
    """What the user reads: one or more complete lines."""

    exit_code = ExitCode.ENVIRONMENT


class UsageError(ResbenchError):
    """The command line or a suite is wrong (exit 2)."""

    exit_code = ExitCode.USAGE


class EnvironmentFault(ResbenchError):
    """Disk, data, device or permission (exit 3)."""


class StorageFault(EnvironmentFault):
    """The results folder cannot be written or read, so no run can continue there (exit 3)."""


LISTED = 15
"""Up to this many choices are listed in full; beyond that, only the closest match."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'? Allowed: a, b."``; only the second half if no name is close.

    Of more than ``LISTED`` names only the close one is given, or else the first ones.
    """
    import difflib  # only needed when something is wrong

    names = [str(item) for item in allowed]
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    starts = {item[: len(name)]: item for item in reversed(names) if name}
    near = near or [starts[s] for s in difflib.get_close_matches(name, starts, n=1, cutoff=0.8)]
    hint = f" Did you mean '{near[0]}'?" if near else ""
    if near and len(names) > LISTED:
        return hint
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{hint} Allowed: {', '.join(names[:LISTED])}{more}."
