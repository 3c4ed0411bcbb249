"""Where a run is made: a device that gives the same bits again, its signature, and the code."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

import resbench
from resbench.errors import EnvironmentFault, UsageError
from resbench.machine import cpu_model, cpu_name
from resbench.process import output_of
from resbench.store.records import Code

KERNEL_VARIABLES = (
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_DEBUG_CPU_TYPE",
    "OPENBLAS_CORETYPE",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_BLAS_PREFER_CUBLASLT",
    "TORCH_CUBLASLT_UNIFIED_WORKSPACE",
    "TORCH_CUDNN_USE_HEURISTIC_MODE_B",
    "TORCH_CUDNN_V8_API_DISABLED",
    "PYTORCH_TUNABLEOP_ENABLED",
    "DISABLE_ADDMM_CUDA_LT",
    "CUBLASLT_WORKSPACE_SIZE",
    "CUBLAS_EMULATE_SINGLE_PRECISION",
    "CUBLAS_EMULATION_STRATEGY",
    "CUDNN_ERRATA_JSON_FILE",
)
"""Variables that make libraries choose other kernels, and whose effect no query reports."""
COMPILER_VARIABLE = re.compile(
    r"(TORCHINDUCTOR|TORCHDYNAMO|TORCH_COMPILE)_(?!CACHE_DIR$|COMPILE_THREADS$)"
    r"|TRITON_(DEFAULT_FP_FUSION|F32_DEFAULT|INTERPRET)$"
)
"""Those of torch's compiler that can do so; it sets the folders of its files itself."""
NUMERIC_PARTS = ("models", "data", "datasets.py", "train", "suite")


def set_up_device(device: torch.device, threads: int) -> None:
    """Make the process deterministic: thread count, algorithms, no reduced-precision matmul."""
    torch.set_num_threads(threads)
    # As use_deterministic_algorithms(True), which imports the compiler to set its flag: seconds.
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


@contextmanager
def without_fallbacks(device: torch.device) -> Iterator[None]:
    """Refuse a plan of cuDNN for little memory: it is taken silently, and rounds differently.

    Raises:
        OutOfMemoryError: an allocation has failed, be it of a workspace, which cuDNN would hide.
    """
    before = _failed_allocations(device)
    yield
    if _failed_allocations(device) > before:
        raise torch.OutOfMemoryError("CUDA out of memory: none is left for cuDNN's workspace.")


def _failed_allocations(device: torch.device) -> int:
    return int(torch.cuda.memory_stats(device)["num_ooms"]) if device.type == "cuda" else 0


def find_device(name: str, precision: str = "fp32") -> torch.device:
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
    has, built_for = torch.cuda.get_device_capability(index), torch.cuda.get_arch_list()
    version = "{}.{}".format(*has)
    called = f"device {name}: {torch.cuda.get_device_name(index)} has compute capability {version}"
    if not any(_runs_on(arch, has) for arch in built_for):
        raise EnvironmentFault(
            f"{called}, and this torch ({torch.__version__}) is built for "
            f"{', '.join(built_for)}. Install a build of torch for it, or use another GPU or the "
            "CPU."
        )
    if precision == "bf16" and has < (8, 0):
        raise EnvironmentFault(
            f"{called}, and bf16 needs 8.0 (Ampere) or newer; older GPUs only emulate it, slowly. "
            "Use --precision fp32."
        )
    return torch.device("cuda", index)


def _runs_on(arch: str, has: tuple[int, int]) -> bool:
    """Say whether code for ``sm_86`` (this major version) or ``compute_90`` (any later) runs."""
    found = re.fullmatch(r"(\w+)_(\d+)\D*", arch)
    if found is None:
        return False
    built = divmod(int(found[2]), 10)
    return built <= has and (found[1] == "compute" or built[0] == has[0])


def signature(device: torch.device, engine: str) -> dict[str, Any]:
    """Return what must be equal for a run under an engine to continue bit for bit.

    Libraries choose their kernels by the instruction sets of the processor, and oneDNN and MKL
    also by its vendor and model; every kernel rounds in its own order. On a GPU the processor only
    draws orders and augmentations: of these, torch's own level decides the bits.
    """
    facts = cpu_facts()
    on_cpu, is_compiled = device.type == "cpu", engine == "graph+compile"
    return {
        "torch": str(torch.__version__),  # it is a subclass
        "device": device.type,
        "device_name": cpu_name() if on_cpu else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "cuda": None if on_cpu else torch.version.cuda,
        "cudnn": None if on_cpu else torch.backends.cudnn.version(),
        "kernel_variables": {
            name: value
            for name, value in os.environ.items()
            if name in KERNEL_VARIABLES or (is_compiled and COMPILER_VARIABLE.match(name))
        },
        **(facts if on_cpu else {"cpu_capability": facts["cpu_capability"]}),
    }


def environment(device: torch.device, engine: str = "eager") -> dict[str, Any]:
    """Return versions and hardware as plain values."""
    return {
        **cpu_facts(),
        **signature(device, engine),
        "python": platform.python_version(),
        "cpu": f"{cpu_name()}, {os.cpu_count()} logical cores",
        "os": f"{platform.system()} {platform.machine()}",
    }


def cpu_facts() -> dict[str, str | None]:
    """Return the processor's model and the instruction sets that torch and oneDNN use of it."""
    return {
        "cpu_model": cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "onednn_isa": _onednn_isa(),
    }


@cache
def _onednn_isa() -> str | None:
    """Return the instruction sets that oneDNN limits itself to; None where it does not say.

    torch has no function that reports them; oneDNN prints them to standard output, once a process,
    in its verbose mode.
    """
    if not torch.backends.mkldnn.is_available():
        return None
    with tempfile.TemporaryFile() as log:
        before = os.dup(1)
        try:
            os.dup2(log.fileno(), 1)
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                one = torch.ones(1, 1, 1, 1)
                torch.mkldnn_convolution(one, one, None, [0, 0], [1, 1], [1, 1], 1)
            ctypes.CDLL(None).fflush(None)
        finally:
            os.dup2(before, 1)
            os.close(before)
        log.seek(0)
        found = re.search(rb"info,cpu,isa:(.+)", log.read())
    return found[1].decode().strip() if found else None


@cache
def code_version() -> Code:
    """Return the package version, the checkout's commit where there is one, and a source digest.

    The digest covers the modules that can change a number, so that two records from checkouts with
    local changes can still be told apart.
    """
    package = Path(resbench.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        if name.parts[0] in NUMERIC_PARTS:
            digest.update(name.as_posix().encode() + b"\0" + path.read_bytes())
    top = _git(package, "rev-parse", "--show-toplevel")
    own = top is not None and os.path.realpath(top) == os.path.realpath(package.parents[1])
    # A copy of the package in somebody's repository has no commit of resbench.
    commit = _git(package, "rev-parse", "HEAD") if own else None
    changes = _git(package, "status", "--porcelain", "--", ".") if commit else None
    return Code(
        version=resbench.__version__,
        commit=commit,
        dirty=None if changes is None else bool(changes),
        source_sha256=digest.hexdigest(),
    )


def _git(folder: Path, *arguments: str) -> str | None:
    # A refreshed index is nothing to lock the user's repository for.
    output = output_of("git", "--no-optional-locks", "-C", str(folder), *arguments, timeout_s=10)
    return None if output is None else output.strip()
