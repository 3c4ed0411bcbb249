"""The kernel's count of processes that it ended out of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from resbench import machine
from resbench.runner.worker import oom_kills


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a control group of version 2, without its counters."""
    (tmp_path / "cgroup").write_text("4:memory:/v1\n0::/user.slice/run 1\n")
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "MOUNT", tmp_path)
    folder = tmp_path / "user.slice" / "run 1"
    folder.mkdir(parents=True)
    return folder


def test_the_count_of_this_control_group_is_read(group: Path) -> None:
    assert oom_kills() == 0
    (group / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 7\n")
    assert oom_kills() == 2


def test_the_count_of_a_group_of_version_1_is_read(group: Path, tmp_path: Path) -> None:
    (tmp_path / "memory" / "v1").mkdir(parents=True)
    counter = tmp_path / "memory" / "v1" / "memory.oom_control"
    counter.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    assert oom_kills() == 5


@pytest.mark.parametrize("text", ["", "oom 3\n", "oom_kill", "oom_kill many\n"])
def test_what_does_not_say_is_no_evidence(group: Path, text: str) -> None:
    (group / "memory.events").write_text(text)
    assert oom_kills() == 0


def test_without_control_groups_there_is_no_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "none")
    assert oom_kills() == 0
