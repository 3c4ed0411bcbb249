"""What the machine and the training processes do: the samples behind MLflow's system metrics."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil

_MB = 1e6
_GPU = {
    "utilization.gpu": ("utilization_percentage", 1.0),
    "memory.used": ("memory_usage_megabytes", 2**20 / _MB),
    "power.draw": ("power_usage_watts", 1.0),
}
"""What nvidia-smi tells, MLflow's name for it, and the factor between them."""


@dataclass(frozen=True)
class Sample:
    """Measurements at one moment (UTC, ms); names as MLflow's, of the process ``worker_...``."""

    time_ms: int
    values: Mapping[str, float]


@dataclass
class Sampler:
    """Samples the machine and the processes that it is told to watch."""

    _processes: dict[int, psutil.Process] = field(default_factory=dict)

    def watch(self, pid: int) -> None:
        """Begin to measure a process: its CPU time counts from here."""
        try:
            self._processes[pid] = psutil.Process(pid)
            self._processes[pid].cpu_percent()
        except psutil.Error:
            self._processes.pop(pid, None)

    def sample(self, pids: Iterable[int]) -> dict[int, Sample]:
        """Return a sample for each process that is still there."""
        host, time_ms = _host(), int(time.time() * 1000)
        samples = {}
        for pid in set(pids) & self._processes.keys():
            try:
                process = self._processes[pid]
                worker = {
                    "worker_cpu_utilization_percentage": process.cpu_percent(),
                    "worker_memory_usage_megabytes": process.memory_info().rss / _MB,
                }
            except psutil.Error:
                del self._processes[pid]
            else:
                samples[pid] = Sample(time_ms, host | worker)
        return samples


def _host() -> dict[str, float]:
    memory = psutil.virtual_memory()
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / _MB,
        "system_memory_usage_percentage": 100 * memory.used / memory.total,
        **_gpus(),
    }


def _gpus() -> dict[str, float]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    command = [tool, f"--query-gpu={','.join(_GPU)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = {}
    for gpu, line in enumerate(done.stdout.splitlines()):
        for (name, factor), text in zip(_GPU.values(), line.split(","), strict=False):
            try:
                values[f"gpu_{gpu}_{name}"] = factor * float(text)
            except ValueError:
                continue  # "[N/A]": this GPU does not measure it
    return values
