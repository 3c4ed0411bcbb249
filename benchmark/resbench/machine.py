"""What this machine is called, without importing anything heavy."""

from __future__ import annotations

from functools import cache


@cache
def cpu_name() -> str:
    """Return the processor's model name as the kernel reports it."""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    import platform

    return platform.processor() or platform.machine()
