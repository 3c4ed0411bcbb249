"""Devices are found by nvidia-smi, without torch."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from resbench.errors import EnvironmentFault, UsageError
from resbench.machine import cores, cpu_name
from resbench.runner import devices
from resbench.runner.devices import Device, choose, gpus, like_the_first, need_compiler, unused_gpu
from resbench.runner.worker import worker_variables

from ..mini import executable

H100, A100 = "NVIDIA H100", "NVIDIA A100"
CPU = Device("cpu", cpu_name())


def test_every_gpu_has_one_worker(nvidia_smi: Path) -> None:
    found = [Device("cuda:0", H100), Device("cuda:1", A100)]
    assert gpus() == found
    assert choose("auto", None) == choose("cuda", None) == found
    assert choose("cuda", 1) == found[:1]
    assert choose("cuda:1, cuda:0", None) == found[::-1]
    assert choose("cuda:1,cuda,cuda:1", None) == found[::-1]
    with pytest.raises(EnvironmentFault, match=r"--devices cuda:7: nvidia-smi lists no such GPU"):
        choose("cuda:7", None)
    assert [device.label for device in (*found, CPU)] == [H100, A100, "CPU"]


def test_workers_of_the_cpu_stand_behind_the_gpus(nvidia_smi: Path) -> None:
    mixed = choose("cpu,cuda:0,cuda:1", 3)
    assert [device.name for device in mixed] == ["cuda:0", "cuda:1", "cpu", "cpu", "cpu"]
    assert (like_the_first(mixed), like_the_first(mixed[2:])) == (2, 3)


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", [A100]),
        ("1,0", [A100, H100]),
        ("5", []),
        ("GPU-8a", [H100]),
        ("GPU-9b2e-1", [A100]),
        ("GPU-9b, GPU-8a", [A100, H100]),
        ("GPU-0", []),
        ("MIG-1c", [H100]),  # a slice that is not listed
        ("", []),
        ("-1", []),
    ],
)
def test_only_visible_gpus_are_found(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [device.label for device in gpus()] == names


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["A100-SXM4-40GB MIG 3g.20gb", H100]),
        ("1,0", [H100, "A100-SXM4-40GB MIG 3g.20gb"]),
        ("MIG-a28ad590", ["A100-SXM4-40GB MIG 1c.3g.20gb"]),
        ("GPU-e86c", ["A100-SXM4-40GB MIG 3g.20gb"]),
    ],
)
def test_a_slice_of_a_gpu_has_the_name_that_cuda_and_records_give_it(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]
) -> None:
    """Else speeds of the whole GPU would be taken for its own. The lines are of NVIDIA's guide."""
    listed = """GPU 0: A100-SXM4-40GB (UUID: GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)
  MIG 1c.3g.20gb  Device  1: (UUID: MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d)
GPU 1: NVIDIA H100 (UUID: GPU-8a1f-0)"""
    executable(nvidia_smi, f"printf '%s\\n' '{listed}'")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [device.label for device in gpus()] == names


def test_a_tool_that_fails_finds_no_gpu(nvidia_smi: Path) -> None:
    executable(nvidia_smi, "echo 'no driver' >&2; exit 9")
    assert gpus() == []
    assert {device.name for device in choose("auto", None)} == {"cpu"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CUDA_VISIBLE_DEVICES", "0"),
        ("CUDA_VISIBLE_DEVICES", "GPU-8a1f"),
        ("SLURM_JOB_GPUS", "3"),
    ],
)
def test_a_job_with_a_gpu_that_cannot_be_used_is_not_trained_on_the_cpu_unasked(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    executable(nvidia_smi, "exit 9")
    monkeypatch.setenv(name, value)
    with pytest.raises(EnvironmentFault, match=r"pass --devices cpu to train on the CPU\.") as said:
        choose("auto", None)
    assert str(said.value).startswith(f"{name} is {value}, but nvidia-smi is missing or lists no")
    assert choose("cpu", 1) == [CPU]
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert choose("auto", 1) == [CPU], "the user hides it"


def test_the_cpu_has_a_worker_a_core_or_as_many_as_asked_for() -> None:
    assert choose("auto", None) == [CPU] * cores()
    assert len(choose("cpu", 7)) == 7


@pytest.mark.parametrize("request_", ["gpu", "cuda:", "cuda:x", "", "cpu,", "cuda:-1"])
def test_an_unknown_device_is_a_usage_error(request_: str) -> None:
    with pytest.raises(UsageError, match=r"unknown device\. Use auto, cpu, cuda, or cuda:0,cuda:1"):
        choose(request_, None)


def test_workers_number_gpus_as_nvidia_smi_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert worker_variables()["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_workers_have_the_users_variables_and_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"HTTPS_PROXY": "http://proxy", "GLIBC_TUNABLES": "", "OMP_NUM_THREADS": "8"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = worker_variables()
    assert {name: found[name] for name in given} == given | {"OMP_NUM_THREADS": "1"}
    assert found["VECLIB_MAXIMUM_THREADS"] == "1", "of Accelerate, which OMP_NUM_THREADS is not for"


@pytest.mark.parametrize(
    ("maker", "why"), [("NVIDIA", "nvidia-smi is missing"), ("AMD", "ROCm is not supported")]
)
def test_a_gpu_that_is_not_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maker: str, why: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    node = tmp_path / "node"
    monkeypatch.setattr(devices, "NODES", {maker: (str(node), devices.NODES[maker][1])})
    assert unused_gpu() is None
    node.touch()
    assert f"there is an {maker} GPU, but it cannot be used: {why}" in str(unused_gpu())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert unused_gpu() is None


def test_what_compiles_kernels_is_asked_for_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    with pytest.raises(EnvironmentFault, match="needs a C compiler"):
        need_compiler()
    executable(tmp_path / "no-such-compiler", "")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(EnvironmentFault, match=r"needs Python\.h in "):
        need_compiler()
    (tmp_path / "Python.h").touch()
    need_compiler()
