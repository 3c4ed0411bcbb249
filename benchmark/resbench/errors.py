"""Errors a user can cause, and the exit codes of every command.

A :class:`ResbenchError` reaches the user as one line per problem, without a traceback: the place,
what is wrong, why, and what to do. Anything else that escapes is a defect of resbench.
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

    exit_code = ExitCode.ENVIRONMENT


class StorageFault(EnvironmentFault):
    """The results folder cannot be written or read: no run can go on there (exit 3)."""


LISTED = 15
"""So many names are read through (all verbs, all shipped suites); of more, a near one is enough."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'? Allowed: a, b."``; the second half when nothing is near.

    Of more than ``LISTED`` names a near one stands alone, and without one the first are listed.
    """
    import difflib  # only where there is something to say

    names = [str(item) for item in allowed]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    if near and len(names) > LISTED:
        return hint
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{hint} Allowed: {', '.join(names[:LISTED])}{more}."
