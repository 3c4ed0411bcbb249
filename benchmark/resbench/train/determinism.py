"""Settings under which the same run gives the same bits, and what must match to resume one."""

from __future__ import annotations

import os
import re
from typing import Any

import torch

from resbench.errors import EnvironmentFault, UsageError
from resbench.machine import cpu_name


def set_up_device(device: torch.device, threads: int) -> None:
    """Make the process deterministic: thread count, algorithms, no reduced-precision matmul."""
    torch.set_num_threads(threads)
    # As use_deterministic_algorithms(True), which imports the compiler to tell it as well: seconds.
    torch.set_deterministic_debug_mode("error")
    # Filling new memory with NaN is a debugging aid of the deterministic mode; it costs a kernel an
    # allocation and changes no result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type == "cuda":
        if os.environ.get("CUBLAS_WORKSPACE_CONFIG") is None:
            raise EnvironmentFault(
                "CUBLAS_WORKSPACE_CONFIG is not set in this process; cuBLAS would not be "
                "deterministic. Set it to :4096:8."
            )
        torch.cuda.set_device(device)  # a graph is captured on a stream of the current device
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


def find_device(name: str) -> torch.device:
    """Return a usable device for ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: another kind of name.
        EnvironmentFault: no such device, or one too old for this build of torch.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"device {name}: unknown. Use cpu, cuda or cuda:N.")
    device = torch.device(name)
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        raise EnvironmentFault(
            f"device {name}: this torch ({torch.__version__}) sees no CUDA device. "
            "Use the CPU, or install a CUDA build of torch and a driver."
        )
    index = device.index or 0
    if index >= torch.cuda.device_count():
        raise EnvironmentFault(
            f"device {name}: only {torch.cuda.device_count()} CUDA device(s) are visible. "
            "Name one of them, or check CUDA_VISIBLE_DEVICES."
        )
    major, minor = torch.cuda.get_device_capability(index)
    if major < 7:
        raise EnvironmentFault(
            f"device {name}: compute capability {major}.{minor}, and 7.0 (Volta) or newer is "
            "needed. Use another GPU or the CPU."
        )
    return torch.device("cuda", index)


def signature(device: torch.device) -> dict[str, Any]:
    """Return what must be equal for a resumed run to continue bit for bit."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return {
        "torch": str(torch.__version__),  # it is a subclass
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
    }
