"""Which devices there are, found without importing torch."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resbench.errors import EnvironmentFault, UsageError
from resbench.machine import cores, cpu_name
from resbench.process import output_of

NODES = {
    "NVIDIA": (
        "/dev/nvidiactl",
        "nvidia-smi is missing or fails. Install it, or start the container with "
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ),
    "AMD": ("/dev/kfd", "ROCm is not supported"),
}
"""Maker -> the file that a driver of its GPUs makes, and why such a GPU is not used."""

LISTED = re.compile(r"(?m)^ *(GPU|MIG) (?:\d+: )?(.+?)(?: +Device +\d+:)? \(UUID: (.+)\)$")
"""A GPU, or a slice of the one before."""


@dataclass(frozen=True)
class Device:
    """What one worker trains on: ``cpu`` or ``cuda:N``."""

    name: str
    kind: str
    """The GPU's or the processor's name, by which speeds are kept and records name it."""

    @property
    def is_gpu(self) -> bool:
        """Whether it is a CUDA device."""
        return self.name != "cpu"

    @property
    def label(self) -> str:
        """What a person reads."""
        return self.kind if self.is_gpu else "CPU"


def gpus() -> list[Device]:
    """Return the CUDA devices that nvidia-smi lists, as CUDA_VISIBLE_DEVICES numbers them."""
    tool = shutil.which("nvidia-smi")
    if tool is None or _hidden():
        return []
    listed = LISTED.findall(output_of(tool, "--list-gpus", timeout_s=20) or "")
    found: list[list[tuple[str, str]]] = []  # name and UUID of each GPU, then those of its slices
    for part, name, uuid in listed:
        if part == "GPU":
            found.append([(name, uuid)])
        elif found:
            found[-1].append((f"{found[-1][0][0]} MIG {name}", uuid))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(len(found))))
    names = [name for item in visible.split(",") for name in _meant(item.strip(), found)]
    return [Device(f"cuda:{i}", name) for i, name in enumerate(names)]


def _hidden() -> bool:
    return os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")


def _meant(item: str, found: list[list[tuple[str, str]]]) -> list[str]:
    """Return the name that CUDA has for an item of CUDA_VISIBLE_DEVICES, if there is such a GPU.

    An item is a number, or the start of a UUID. Of a GPU in slices (MIG) CUDA uses the first.
    """
    if item.startswith("MIG-"):
        slices = [name for gpu in found for name, uuid in gpu[1:] if uuid.startswith(item)]
        return (slices or [gpu[0][0] for gpu in found])[:1]  # a container may not list it
    return [
        gpu[:2][-1][0]
        for number, gpu in enumerate(found)
        if item == str(number) or (item.startswith("GPU-") and gpu[0][1].startswith(item))
    ]


def unused_gpu() -> str | None:
    """Return a line about a GPU that exists and cannot be used; None without one."""
    for maker, (node, why) in NODES.items():
        if Path(node).exists() and not _hidden():
            return f"there is an {maker} GPU, but it cannot be used: {why}."
    return None


def need_compiler() -> None:
    """Check for what graph+compile builds its kernels with.

    Raises:
        EnvironmentFault: no C compiler, or no header files of Python.
    """
    compilers = (os.environ.get("CC"), "cc", "gcc", "clang")
    if not any(name and shutil.which(shlex.split(name)[0]) for name in compilers):
        missing = "a C compiler"
    elif not Path(sysconfig.get_path("include"), "Python.h").is_file():
        missing = f"Python.h in {sysconfig.get_path('include')}"
    else:
        return
    raise EnvironmentFault(
        f"--engine graph+compile: needs {missing}. Install it (Debian: gcc and python3-dev), or "
        "use --engine graph."
    )


def choose(request: str, workers: int | None) -> list[Device]:
    """Return the device of each worker for ``--devices`` and ``-j``.

    ``auto`` is every GPU, or else the CPU. A GPU has one worker; the CPU has ``workers`` of
    one thread each, by default one a core. GPUs come first.

    Raises:
        UsageError: not ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or a list of those.
        EnvironmentFault: a GPU that is not there, be it named here or, for ``auto``, by the job.
    """
    found = gpus()
    if request == "auto":
        names = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS")
        given = [f"{name} is {value}" for name in names if (value := os.environ.get(name))]
        if given and not found and not _hidden():
            raise EnvironmentFault(
                f"{given[0]}, but nvidia-smi is missing or lists no such GPU. Check the driver, or "
                "pass --devices cpu to train on the CPU."
            )
        request = "cuda" if found else "cpu"
    chosen: list[Device] = []
    for part in request.split(","):
        part = part.strip()
        if part == "cpu":
            chosen += [Device("cpu", cpu_name())] * (workers or cores())
        elif re.fullmatch(r"cuda(:\d+)?", part):
            match = [device for device in found if part in ("cuda", device.name)]
            if not match:
                raise EnvironmentFault(
                    f"--devices {part}: nvidia-smi lists no such GPU. Use --devices cpu, or check "
                    "the driver and CUDA_VISIBLE_DEVICES."
                )
            chosen += [device for device in match if device not in chosen]
        else:
            raise UsageError(
                f"--devices {part}: unknown device. Use auto, cpu, cuda, or cuda:0,cuda:1,cpu."
            )
    chosen.sort(key=lambda device: not device.is_gpu)
    return chosen[:workers] if workers and chosen[-1].is_gpu else chosen


def like_the_first(devices: Sequence[Device]) -> int:
    """Return how many devices are a GPU, or the CPU, as the first is: estimates count on these.

    CPU workers next to a GPU finish earlier than estimated, if they change anything.
    """
    return sum(device.is_gpu == devices[0].is_gpu for device in devices)
