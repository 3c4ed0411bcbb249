"""The record names the code that made it, and nobody else's; the signature what decides bits."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch

import resbench
from resbench.train import determinism, environment

PACKAGE = Path(resbench.__file__).parent


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Somebody's repository with a commit of theirs."""
    name = ("-c", "user.name=n", "-c", "user.email=e@e")
    for words in (("init", "-q"), (*name, "commit", "-q", "--allow-empty", "-m", "1")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_variables_that_git_sets_for_its_hooks_lead_to_no_other_repository(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.code_version.cache_clear()
    own = environment.code_version()
    if own.commit is None:
        pytest.skip("not in a checkout")
    monkeypatch.setenv("GIT_DIR", str(elsewhere / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(elsewhere))
    monkeypatch.setenv("GIT_INDEX_FILE", str(elsewhere / "index"))
    environment.code_version.cache_clear()
    assert environment.code_version() == own


def test_a_copy_in_somebodys_repository_has_no_commit(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = elsewhere / "vendored" / "benchmark" / "resbench"
    package.mkdir(parents=True)
    monkeypatch.setattr(resbench, "__file__", str(package / "__init__.py"))
    environment.code_version.cache_clear()
    try:
        assert environment.code_version().commit is None
    finally:
        environment.code_version.cache_clear()


def test_the_signature_has_what_chooses_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MKL_CBWR", raising=False)
    cpu = torch.device("cpu")
    plain = determinism.signature(cpu)
    assert plain["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert plain["cpu_model"]
    assert plain["cuda"] is None
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setenv("HOME", os.devnull)
    changed = determinism.signature(cpu)
    assert {name for name in plain if plain[name] != changed[name]} == {"kernel_variables"}
    assert changed["kernel_variables"] == plain["kernel_variables"] | {"MKL_CBWR": "COMPATIBLE"}


def test_on_a_gpu_the_versions_of_cuda_and_cudnn_count_and_the_processor_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92301)
    gpu = torch.device("cuda")
    found = determinism.signature(gpu)
    assert (found["device_name"], found["cuda"], found["cudnn"]) == ("a GPU", "13.0", 92301)
    assert "cpu_model" not in found
    whole = environment.environment(gpu)
    assert whole["cpu_model"], "which is in the record all the same"
    assert whole["cudnn"] == 92301
