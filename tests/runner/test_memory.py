"""The kernel's count of processes that it ended out of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from resbench import machine
from resbench.runner.worker import oom_kills


@pytest.mark.parametrize(
    ("counter", "text", "count"),
    [
        ("user.slice/run 1/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 7\n", 2),
        ("memory/v1/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),
        *(("user.slice/run 1/memory.events", text, 0)
          for text in ("", "oom 3\n", "oom_kill", "oom_kill many\n")),
        ("nowhere", "oom_kill 2\n", 0),
    ],
)  # fmt: skip
def test_the_count_of_this_control_group_is_read_in_both_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counter: str, text: str, count: int
) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "MOUNT", tmp_path)
    assert oom_kills() == 0, "without control groups"
    (tmp_path / "cgroup").write_text("4:memory:/v1\n0::/user.slice/run 1\n")
    (tmp_path / counter).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / counter).write_text(text)
    assert oom_kills() == count
