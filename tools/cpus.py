"""Run the tests that compute under the settings of several processors.

Numbers of other processors are rounded otherwise: torch, oneDNN, MKL and OpenBLAS choose their code
by what the processor can do, and each can be told to do without. A test that passes by the luck of
one processor's rounding fails under one of these settings.

Usage: ``python -m tools.cpus [PYTEST ARGUMENT...]``, by default those of ``TESTS``. Exit code
1 where a setting fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = (
    "tests/models",
    "tests/train",
    "tests/data",
    "tests/stats",
    "tests/tools/test_speed.py",
    "tests/packaging/test_readme.py",
)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
SETTINGS: dict[str, dict[str, str]] = {
    "this processor": {},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "AVX512 without extensions": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "AVX2, Intel": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "AVX2, AMD": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Zen",
    },
    "no AVX": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
    "torch without AVX": {"ATEN_CPU_CAPABILITY": "default"},
    "oneDNN without AVX": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "no AVX, two threads": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OMP_NUM_THREADS": "2",
    },
}


def main() -> int:
    """Run the tests under every setting; return the exit code."""
    arguments = sys.argv[1:] or [*TESTS, "-n", "2", "--dist", "worksteal"]
    failed = []
    for name, variables in SETTINGS.items():
        words = " ".join(f"{key}={value}" for key, value in variables.items())
        print(f"== {name} {words}".rstrip(), flush=True)
        command = [sys.executable, "-m", "pytest", "-q", *arguments]
        environment = {**os.environ, **ONE_THREAD, **variables}
        if subprocess.run(command, cwd=ROOT, env=environment).returncode:
            failed.append(name)
    print(*(f"failed: {name}" for name in failed), sep="\n")
    print(f"{len(SETTINGS) - len(failed)} of {len(SETTINGS)} settings passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
