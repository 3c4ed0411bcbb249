"""Devices by name; the code that a record names; the signature of what decides bits."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import resbench
from resbench.errors import EnvironmentFault, UsageError
from resbench.train.environment import code_version, environment, find_device, signature

CPU = torch.device("cpu")
BUILT_FOR = ["sm_75", "sm_80", "sm_90a", "compute_90"]


def a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    """One GPU, and a torch that has code for some."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: BUILT_FOR)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "meta", "mps", ""])
def test_a_name_of_no_device_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"^device {name}: unknown. Use cpu, cuda or cuda:N.$"):
        find_device(name)


def test_a_missing_gpu_is_reported_without_an_option_that_not_every_verb_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a_gpu(monkeypatch, (8, 0))
    with pytest.raises(EnvironmentFault, match="only 1 CUDA device") as few:
        find_device("cuda:3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentFault, match=r"device cuda:0: .* Use the CPU, or ins") as none:
        find_device("cuda:0")
    assert "--" not in f"{none.value}{few.value}"


@pytest.mark.parametrize(
    ("capability", "precision", "fault"),
    [
        *((capability, "fp32", None) for capability in ((7, 5), (8, 6), (8, 9), (12, 0))),
        ((7, 0), "fp32", r"Tesla has compute capability 7\.0, .* built for sm_75, .*compute_90\."),
        ((7, 5), "bf16", r"bf16 needs 8\.0 .* Use --precision fp32\."),
        ((8, 0), "bf16", None),
    ],
)
def test_a_gpu_is_taken_or_named_as_too_old_for_this_torch_or_for_bf16_before_training(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str, fault: str | None
) -> None:
    a_gpu(monkeypatch, capability)
    if fault is None:
        assert find_device("cuda", precision) == torch.device("cuda", 0)
    else:
        with pytest.raises(EnvironmentFault, match=fault):
            find_device("cuda", precision)


@pytest.fixture
def fresh() -> Iterator[None]:
    code_version.cache_clear()
    yield
    code_version.cache_clear()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Somebody's repository with a commit of theirs."""
    name = ("-c", "user.name=n", "-c", "user.email=e@e")
    for words in (("init", "-q"), (*name, "commit", "-q", "--allow-empty", "-m", "1")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.usefixtures("fresh")
def test_a_checkout_is_named_by_digest_and_commit_and_not_by_variables_of_gits_hooks(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = code_version()
    assert len(own.source_sha256) == 64
    assert (own.commit is None) == (own.dirty is None)
    if own.commit is None:
        pytest.skip("not in a checkout")
    monkeypatch.setenv("GIT_DIR", str(elsewhere / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(elsewhere))
    monkeypatch.setenv("GIT_INDEX_FILE", str(elsewhere / "index"))
    code_version.cache_clear()
    assert code_version() == own


@pytest.mark.usefixtures("fresh")
def test_a_copy_in_somebodys_repository_has_no_commit(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = elsewhere / "vendored" / "benchmark" / "resbench"
    package.mkdir(parents=True)
    monkeypatch.setattr(resbench, "__file__", str(package / "__init__.py"))
    assert code_version().commit is None


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("name", "counts"), [("train/lane.py", True), ("datasets.py", True), ("words.py", False)]
)
def test_the_digest_is_of_the_modules_that_can_change_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, counts: bool
) -> None:
    monkeypatch.setattr(resbench, "__file__", str(tmp_path / "__init__.py"))
    before = code_version().source_sha256
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("changed = True\n")
    code_version.cache_clear()
    assert (code_version().source_sha256 != before) == counts


def test_the_signature_has_what_chooses_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MKL_CBWR", raising=False)
    plain = signature(CPU, "eager")
    assert plain["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert plain["cpu_model"]
    assert plain["cuda"] is None
    monkeypatch.setenv("HOME", "/")
    chosen = {"MKL_CBWR": "COMPATIBLE", "PYTORCH_TUNABLEOP_ENABLED": "1",
              "CUBLAS_EMULATE_SINGLE_PRECISION": "1"}  # fmt: skip
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    assert signature(CPU, "eager") == {
        **plain,
        "kernel_variables": plain["kernel_variables"] | chosen,
    }


def test_what_a_compiler_is_told_counts_for_compiled_runs_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a word, one switch makes graph+compile the same as graph."""
    told = {"TORCH_COMPILE_DISABLE": "1", "TORCHINDUCTOR_MAX_AUTOTUNE": "1"}
    for name, value in {**told, "TORCHINDUCTOR_CACHE_DIR": "/fast/disk"}.items():
        monkeypatch.setenv(name, value)
    assert signature(CPU, "graph+compile")["kernel_variables"].items() >= told.items()
    for engine in ("eager", "graph", "graph+compile"):
        known = environment(CPU, engine)["kernel_variables"]
        assert "TORCHINDUCTOR_CACHE_DIR" not in known
        assert ("TORCH_COMPILE_DISABLE" in known) == (engine == "graph+compile")


def test_on_a_gpu_the_versions_of_cuda_and_cudnn_count_and_the_processor_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92301)
    gpu = torch.device("cuda")
    found = signature(gpu, "eager")
    assert (found["device_name"], found["cuda"], found["cudnn"]) == ("a GPU", "13.0", 92301)
    assert "cpu_model" not in found
    whole = environment(gpu)
    assert whole["cpu_model"], "which is in the record all the same"
    assert whole["cudnn"] == 92301
