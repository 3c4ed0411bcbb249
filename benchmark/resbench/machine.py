"""What this machine is and what this process may use of it, without heavy imports."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from resbench.process import output_of

CGROUP = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")
CPUINFO = Path("/proc/cpuinfo")
SYSCTL = Path("/usr/sbin/sysctl")
JOB_VARIABLES = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID")
"""What Slurm tells a process of the job that it is in."""


def cpu_name() -> str:
    """Return the processor's model name as the kernel reports it."""
    return _cpu().get("model name") or platform.processor() or platform.machine()


def cpu_model() -> str:
    """Return the processor's vendor, family and model, which libraries choose kernels by.

    A virtual machine may give very different processors one name.
    """
    fields = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")  # x86; ARM
    found = [_cpu()[name] for name in fields if name in _cpu()]
    return " ".join([platform.machine(), *found])


@cache
def _cpu() -> dict[str, str]:
    """Return what the kernel reports about the first processor."""
    try:
        first, _, _ = CPUINFO.read_text(errors="replace").partition("\n\n")
    except OSError:
        # macOS has no such file, and Python calls every Apple processor "arm".
        brand = output_of(str(SYSCTL), "-n", "machdep.cpu.brand_string", timeout_s=10)
        return {} if brand is None else {"model name": brand.strip()}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def cores() -> int:
    """Return how many cores this process may use, by affinity, Slurm and a container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = len(affinity(0)) if affinity else os.cpu_count() or 1
    slurm = os.environ.get("SLURM_CPUS_ON_NODE", "")  # not every cluster binds a job to its cores
    if slurm.isdigit():
        allowed = min(allowed, int(slurm))
    quotas = [quota for folder in control_groups("cpu") if (quota := _quota(folder)) is not None]
    return max(1, min([allowed, *map(math.ceil, quotas)]))


def slurm_job() -> str | None:
    """Return the number of the Slurm job that this process is in, as squeue writes it."""
    array, index, job = map(os.environ.get, JOB_VARIABLES)
    return f"{array}_{index}" if array and index else job


def _quota(folder: Path) -> float | None:
    """Return the cores that a control group grants; None where it sets no limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # "max" means no limit
        return None


def control_groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups, of version 1 or 2, that limit this process.

    Its own comes first. In a container the kernel may name the group as the host does; that folder
    does not exist then, and the container's own is the mount.
    """
    try:
        lines = CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, names, group = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        mounts = (MOUNT / names, MOUNT / controller) if names else (MOUNT,)
        for mount in filter(Path.is_dir, dict.fromkeys(mounts)):
            own = mount / group.lstrip("/")
            yield from (path for path in (own, *own.parents) if path.is_relative_to(mount))
