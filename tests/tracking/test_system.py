"""System metrics: of the machine, its GPUs and the process that trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resbench.tracking.system import Sampler


def fake_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_gpus_are_named_as_mlflow_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "printf '97, 1000, 301.5\\n3, 2000, [N/A]\\n'"
    fake_nvidia_smi(tmp_path, monkeypatch, script)
    sampler = Sampler()
    sampler.watch(os.getpid())
    values = sampler.sample([os.getpid()])[os.getpid()].values
    assert {name: value for name, value in values.items() if name.startswith("gpu")} == {
        "gpu_0_utilization_percentage": 97,
        "gpu_0_memory_usage_megabytes": pytest.approx(1048.576),
        "gpu_0_power_usage_watts": 301.5,
        "gpu_1_utilization_percentage": 3,
        "gpu_1_memory_usage_megabytes": pytest.approx(2097.152),
    }


def test_a_broken_nvidia_smi_costs_only_its_own_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvidia_smi(tmp_path, monkeypatch, "echo no devices; exit 9")
    sampler = Sampler()
    sampler.watch(os.getpid())
    values = sampler.sample([os.getpid()])[os.getpid()].values
    assert set(values) == {
        "cpu_utilization_percentage",
        "system_memory_usage_megabytes",
        "system_memory_usage_percentage",
        "worker_cpu_utilization_percentage",
        "worker_memory_usage_megabytes",
    }
    assert values["worker_memory_usage_megabytes"] > 5


def test_a_process_that_is_gone_has_no_sample() -> None:
    sampler = Sampler()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        sampler.watch(process.pid)
        assert sampler.sample([process.pid])
        process.kill()
    assert sampler.sample([process.pid]) == {}
    sampler.watch(process.pid)
    assert sampler.sample([process.pid]) == {}
