"""Run the tests that compute under the settings of several processors.

Numbers of other processors are rounded otherwise: torch, oneDNN, MKL and OpenBLAS choose their code
by what the processor can do, and each can be told to do without. A test that passes by the luck of
one processor's rounding fails under one of these settings.

Usage: ``python -m tools.cpus [PYTEST ARGUMENT...]``, by default the folders of ``TESTS``. What
has passed is kept in .pytest_cache and not repeated until code, tests or arguments change, so that
an interrupted command resumes. Exit code 1 where a setting fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PASSED = ROOT / ".pytest_cache" / "cpus.json"
TESTS = ("tests/models", "tests/train", "tests/data", "tests/stats")
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


def digest(arguments: list[str]) -> str:
    """Return what tells one state of code, tests and arguments from another."""
    total = hashlib.sha256(json.dumps(arguments).encode())
    for path in sorted([*ROOT.glob("benchmark/**/*.py"), *ROOT.glob("tests/**/*.py")]):
        total.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return total.hexdigest()


def read_passed(state: str) -> list[str]:
    """Return the settings under which this state has passed."""
    try:
        kept: dict[str, list[str]] = json.loads(PASSED.read_text())
    except (OSError, ValueError):
        return []
    return kept.get(state, [])


def main() -> int:
    """Run what has not passed yet; return the exit code."""
    arguments = sys.argv[1:] or [*TESTS, "-n", "2", "--dist", "worksteal"]
    state = digest(arguments)
    passed = read_passed(state)
    for name, variables in SETTINGS.items():
        words = " ".join(f"{key}={value}" for key, value in variables.items())
        print(f"== {name} {words}".rstrip(), flush=True)
        if name in passed:
            print("passed before", flush=True)
            continue
        command = [sys.executable, "-m", "pytest", "-q", *arguments]
        environment = {**os.environ, **ONE_THREAD, **variables}
        if subprocess.run(command, cwd=ROOT, env=environment).returncode == 0:
            passed.append(name)
            PASSED.parent.mkdir(exist_ok=True)
            PASSED.write_text(json.dumps({state: passed}, indent=1))
    failed = [name for name in SETTINGS if name not in passed]
    for name in failed:
        print(f"failed: {name}")
    print(f"{len(SETTINGS) - len(failed)} of {len(SETTINGS)} settings passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
