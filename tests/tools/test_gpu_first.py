"""The first run on a GPU, shown on a CPU: phases are processes, findings last, a rerun resumes."""

from __future__ import annotations

from pathlib import Path

import pytest

from resbench.analysis.declared import declared
from resbench.suite.load import load_suite
from tools import gpu_first


def test_every_kind_is_a_cell_of_a_shipped_suite() -> None:
    for suite, cell in gpu_first.KINDS:
        assert declared(load_suite(suite)).cell(cell).spec is not None


def test_a_phase_that_ended_well_is_not_repeated_and_a_failed_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu_first.conduct(tmp_path, "cpu", ["env"]) == 0
    first = gpu_first.findings(tmp_path)
    assert [line["phase"] for line in first] == ["env", "env"]
    assert first[0]["device"] == "cpu"
    assert gpu_first.conduct(tmp_path, "cpu", ["env"]) == 0
    assert gpu_first.findings(tmp_path) == first
    monkeypatch.setitem(gpu_first.PHASES, "peer", (gpu_first.peer, 0))
    for tries in (1, 2):
        assert gpu_first.conduct(tmp_path, "cpu", ["peer"]) == 1
        ended = [line["ended"] for line in gpu_first.findings(tmp_path) if line["phase"] == "peer"]
        assert ended == ["over its limit of 0 s"] * tries
    page = (tmp_path / "first.md").read_text()
    assert "## env" in page
    assert "## peer\n\n- ended: over its limit of 0 s" in page


def test_a_device_that_is_not_there_ends_the_phase_and_is_noted(tmp_path: Path) -> None:
    assert gpu_first.conduct(tmp_path, "cuda:63", ["env"]) == 1
    assert gpu_first.findings(tmp_path) == [{"phase": "env", "ended": 1}]
