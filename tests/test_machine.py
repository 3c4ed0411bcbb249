"""What a container grants, and what a processor is."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from resbench import machine

from .mini import executable


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mount of control groups, of a process that may use eight cores."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "MOUNT", tmp_path / "mount")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path / "mount"


def grant(groups: Path, line: str, folder: str, **files: str) -> None:
    (groups.parent / "cgroup").write_text(f"{line}\n")
    (groups / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (groups / folder / name.replace("__", ".")).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("quota", "cores"), [("50000", 1), ("100000", 1), ("150000", 2), ("300000", 3), ("900000", 8)]
)
def test_a_quota_of_either_version_limits_the_cores(groups: Path, quota: str, cores: int) -> None:
    grant(groups, "0::/box", "box", cpu__max=f"{quota} 100000")
    assert machine.cores() == cores
    v1 = {"cpu__cfs_quota_us": quota, "cpu__cfs_period_us": "100000"}
    grant(groups, "7:cpu,cpuacct:/docker/1", "cpu,cpuacct/docker/1", **v1)
    assert machine.cores() == cores


def test_the_quota_of_a_group_above_counts_too(groups: Path) -> None:
    grant(groups, "0::/box/step", "box", cpu__max="200000 100000")
    assert machine.cores() == 2
    grant(groups, "0::/box/step", "box/step", cpu__max="max 100000")
    assert machine.cores() == 2


def test_a_container_that_sees_its_group_as_the_mount_is_limited(groups: Path) -> None:
    grant(groups, "4:cpu:/docker/only-the-host-has-this", "cpu",
          cpu__cfs_quota_us="100000", cpu__cfs_period_us="50000")  # fmt: skip
    assert machine.cores() == 2


@pytest.mark.parametrize("text", ["max 100000", "", "x y", "0 100000", "100000 0"])
def test_without_a_quota_all_cores_count(groups: Path, text: str) -> None:
    assert machine.cores() == 8, "no control groups"
    grant(groups, "0::/", ".", cpu__max=text)
    assert machine.cores() == 8
    grant(groups, "4:cpu:/", "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert machine.cores() == 8


def test_processors_of_apple_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Mac has no /proc/cpuinfo, and Python calls each of them "arm"."""
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "missing")
    body = '[ "$*" = "-n machdep.cpu.brand_string" ] && cat "${0%/*}/brand"'
    monkeypatch.setattr(machine, "SYSCTL", executable(tmp_path / "sysctl", body))
    for brand in ("Apple M1", "Apple M4 Pro"):
        (tmp_path / "brand").write_text(f"{brand}\n")
        machine._cpu.cache_clear()
        assert machine.cpu_name() == brand
    (tmp_path / "brand").unlink()
    machine._cpu.cache_clear()
    assert machine.cpu_name() == (platform.processor() or platform.machine()), "sysctl failed"
    machine._cpu.cache_clear()


def test_processors_of_one_name_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    for model in (85, 143):
        path = tmp_path / str(model)
        path.write_text(
            "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\n"
            f"model\t\t: {model}\nmodel name\t: Intel(R) Xeon(R) Processor\n\nprocessor\t: 1\n"
        )
        monkeypatch.setattr(machine, "CPUINFO", path)
        machine._cpu.cache_clear()
        assert machine.cpu_name() == "Intel(R) Xeon(R) Processor"
        found.add(machine.cpu_model())
    machine._cpu.cache_clear()
    assert len(found) == 2
