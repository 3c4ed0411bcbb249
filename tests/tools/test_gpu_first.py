"""The first run on a GPU, shown on a CPU: phases are processes, faults count, a rerun resumes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from msgspec.structs import replace

from resbench.analysis.declared import declared
from resbench.suite.load import load_suite
from tools import gpu_first
from tools.speed.comparisons import Bench

from ..faults.running import gone
from ..mini import wait_until

ON_GPU, QUICK = Bench(torch.device("cpu")), Bench(torch.device("cpu"), quick=True)
"""The first measures as on a GPU."""
RUN = """
import signal, sys, time
from pathlib import Path
if Path("stopped").exists():
    sys.exit(RESUMED)
signal.signal(signal.SIGTERM, lambda *_: (Path("stopped").touch(), sys.exit(STOPPED)))
Path("metrics.jsonl").touch()
time.sleep(100)
"""
"""Stands for a run that is stopped and called again."""


def test_every_kind_is_a_cell_of_a_shipped_suite() -> None:
    for suite, cell in gpu_first.KINDS:
        assert declared(load_suite(suite)).cell(cell).spec is not None


def test_all_phases_fit_in_a_quarter_of_an_hour() -> None:
    assert sum(limit_s for _, limit_s in gpu_first.PHASES.values()) <= 15 * 60


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


def test_a_device_that_is_not_there_ends_the_phase_and_is_noted(tmp_path: Path) -> None:
    assert gpu_first.conduct(tmp_path, "cuda:63", ["env"]) == 1
    assert gpu_first.findings(tmp_path) == [{"phase": "env", "ended": 1}]
    assert (tmp_path / "first.log").read_text().startswith("== env\n")
    assert "device cuda:63" in (tmp_path / "first.log").read_text()


def test_a_phase_over_its_limit_ends_with_all_that_it_started_and_its_output_is_kept(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    command = ("sh", "-c", "sleep 1000 & echo $!; wait")
    assert gpu_first.run_within(3, command, log) == "over its limit of 3 s"
    started = int(log.read_text())
    wait_until(lambda: not psutil.pid_exists(started) or gone(psutil.Process(started)), "its end")


def test_a_fault_among_the_findings_fails_the_phase(tmp_path: Path) -> None:
    assert not gpu_first.note_all(tmp_path, "kinds", [{"differ": 0}])
    assert gpu_first.note_all(tmp_path, "kinds", [{"fault": "they differ"}, {"differ": 0}])
    assert len(gpu_first.findings(tmp_path)) == 3


@pytest.mark.parametrize("code", [0, 1, 5])
def test_failing_gpu_tests_are_a_fault(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], cwd: Path) -> Any:
        asked.append(command)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(subprocess, "run", run)
    phases = {name: gpu_first.PHASES[name][0] for name in ("tests", "compile-tests")}
    found = [finding for phase in phases.values() for finding in phase(ON_GPU)]
    assert [("fault" in finding) for finding in found] == [code != 0] * 2
    assert [command[command.index("-k") + 1] for command in asked] == ["not compile", "compile"]


def test_what_a_bare_machine_is_told_to_bring_is_all_that_its_tests_need_of_pytest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = (gpu_first.ROOT / "docs" / "speed.md").read_text("utf-8")
    (packages,) = re.findall(r"pip install --target=FOLDER ([^`]+)`", page)
    plugins = [f"-p{name}" for name in re.findall(r"pytest-(\w+)", packages)]
    real = subprocess.run

    def collect(command: list[str], cwd: Path) -> Any:
        return real([*command, *plugins, "--collect-only"], cwd=cwd, capture_output=True)

    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr(subprocess, "run", collect)
    assert list(gpu_first.tests(ON_GPU, "compile")) == [{"exit_code": 0}]


@pytest.mark.parametrize("wrong", ["", "graph", "bf16", "cuda"])
def test_gradients_that_differ_between_engines_or_from_the_cpu_are_a_fault(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    here = torch.device("meta")  # stands for the GPU: nothing is computed

    def gradients(device: torch.device, spec: Any) -> dict[str, torch.Tensor]:
        off = {
            "graph": spec.engine == "graph" and spec.precision == "fp32",
            "bf16": spec.engine == "graph" and spec.precision == "bf16",
            "cuda": device == here,  # both engines alike
        }
        return {"w": torch.full((2,), 3.0 if wrong and off[wrong] else 1.0)}

    monkeypatch.setattr(gpu_first, "_first_gradients", gradients)
    found = list(gpu_first.kinds(Bench(here)))
    assert len(found) == 3 * len(gpu_first.KINDS)
    assert [one["kind"].split() for one in found[::3]] == [list(kind) for kind in gpu_first.KINDS]
    faults = {(one["precision"], one["against"]) for one in found if "fault" in one}
    expected = {"graph": ("fp32", "graph"), "bf16": ("bf16", "graph"), "cuda": ("fp32", "cpu")}
    assert faults == ({expected[wrong]} if wrong else set())


def test_a_kind_that_cannot_be_captured_is_a_fault_and_the_others_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gradients(_: torch.device, spec: Any) -> dict[str, torch.Tensor]:
        if spec.engine == "graph" and spec.model.family == "he2016":
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        return {"w": torch.ones(2)}

    monkeypatch.setattr(gpu_first, "_first_gradients", gradients)
    found = list(gpu_first.kinds(ON_GPU))
    assert len(found) == 3 * len(gpu_first.KINDS)
    faulty = [(one["kind"], one["against"]) for one in found if "fault" in one]
    assert faulty == [("resnet164_he2016 resnet-164/cifar10", "graph")] * 2


def test_gradients_that_are_no_numbers_are_a_fault() -> None:
    whole, broken = {"w": torch.ones(2)}, {"w": torch.tensor([1.0, float("nan")])}
    assert "fault" not in gpu_first._apart("cpu", whole, whole)
    assert "fault" in gpu_first._apart("cpu", whole, broken, most=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [gpu_first.KINDS[i] for i in (1, 5)], ids=" ".join)
def test_rounding_in_another_order_is_no_fault_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, kind: tuple[str, str]
) -> None:
    first_gradients = gpu_first._first_gradients

    def with_other_kernels(device: torch.device, spec: Any) -> dict[str, torch.Tensor]:
        assert not getattr(spec.model, "dropout", 0)
        plain = replace(spec, engine="eager", precision="fp32")
        with monkeypatch.context() as patch:
            patch.setattr(torch.backends.mkldnn, "enabled", device.index is None)
            return first_gradients(device, plain)

    monkeypatch.setattr(gpu_first, "KINDS", (kind,))
    monkeypatch.setattr(gpu_first, "_first_gradients", with_other_kernels)
    found = list(gpu_first.kinds(Bench(torch.device("cpu:0"))))
    assert [finding.get("fault") for finding in found] == [None] * 3
    assert found[0]["apart"] > 0


def test_a_way_that_cannot_train_is_a_fault_and_the_others_are_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def steps(_: Bench, __: int, lanes: int, **changes: Any) -> gpu_first.Finding:
        # several runs at once in fp32 may wait forever (runner/plan.py)
        assert lanes == 1 or changes["precision"] == "bf16"
        if lanes == 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return {"lanes": lanes}

    monkeypatch.setattr(gpu_first, "_timed_steps", steps)
    found = list(gpu_first.steps(ON_GPU))
    assert [finding["fault"] for finding in found if "fault" in finding] == ["CUDA out of memory."]
    assert found[-1] == {"lanes": 8}


@pytest.mark.parametrize(
    ("stopped", "resumed", "compared", "well"),
    [(143, 0, 0, True), (143, 1, 0, False), (1, 0, 0, False), (143, 0, 1, False)],
)
def test_a_run_that_does_not_stop_or_resume_or_is_then_another_is_a_fault(
    stopped: int, resumed: int, compared: int, well: bool
) -> None:
    code = RUN.replace("STOPPED", str(stopped)).replace("RESUMED", str(resumed))
    compare = [sys.executable, "-c", f"raise SystemExit({compared})"]
    found = gpu_first._stopped_and_resumed([sys.executable, "-c", code], ["--pack=2"], compare)
    assert (found["stopped_with"], found["resumed_with"]) == (stopped, resumed)
    assert found["compared_with"] == compared
    assert ("fault" not in found) == well


def test_both_engines_are_stopped_and_resumed_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def stop(command: list[str], pack: list[str], _compare: list[str]) -> gpu_first.Finding:
        commands.append(command + pack)
        return {}

    monkeypatch.setattr(gpu_first, "_stopped_and_resumed", stop)
    assert len(list(gpu_first.smoke(ON_GPU))) == 2
    assert {"--engine=graph", "--precision=bf16", "--pack=2"} <= {*commands[1]} - {*commands[0]}
    assert len(list(gpu_first.smoke(QUICK))) == 1
