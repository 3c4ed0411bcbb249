"""What the kernel says of processes that it ended because memory ran out."""

from __future__ import annotations

from contextlib import suppress

from resbench.machine import control_groups

COUNTERS = ("memory.events", "memory.oom_control")
"""Of control groups of version 2, and of version 1."""


def oom_kills() -> int:
    """Return how many processes of this control group the kernel has ended out of memory.

    0 where it does not say: without control groups, and in their root.
    """
    for group in control_groups("memory"):
        for name in COUNTERS:
            with suppress(OSError, ValueError, IndexError):
                words = (group / name).read_text().split()
                return int(words[words.index("oom_kill") + 1])
    return 0
