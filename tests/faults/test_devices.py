"""One queue for GPUs and CPU workers, and what becomes of the run of a device that fails."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from ..mini import Done, outputs, ran
from .running import ARL, RUN, epochs_in, failing, prepare, record_in, run_in

ECC = "CUDA error: uncorrectable ECC error encountered\nCompile with `TORCH_USE_CUDA_DSA`."
ASSERT = "CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA`."
LEFT_OUT = "warning: cuda:0 (NVIDIA H100) failed: CUDA error: uncorrectable ECC error encountered. "


ran_with_gpus = partial(ran, CUDA_VISIBLE_DEVICES="0,1")


def about(device: str, done: Done) -> list[str]:
    return [line for line in done.stderr.splitlines() if device in line]


@pytest.mark.slow
@pytest.mark.usefixtures("nvidia_smi")
@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has a CUDA of its own")
def test_a_gpu_that_torch_cannot_use_leaves_its_run_to_the_cpu(
    tmp_path: Path, unbroken: Path
) -> None:
    folder = prepare(tmp_path / "mixed")
    done = ran_with_gpus(folder, *RUN, "--devices", "cuda:0,cpu", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert "2 workers on NVIDIA H100, CPU" in done.stderr
    (line,) = about("cuda:0", done)
    assert "sees no CUDA device" in line
    assert line.endswith("It is not used again; another device continues mini arl seed 1")
    assert "2 done" in done.stderr
    assert outputs(unbroken / "results").items() <= outputs(folder / "results").items()


@pytest.mark.usefixtures("nvidia_smi")
def test_a_run_continues_on_another_gpu_and_never_unasked_on_another_kind_of_device(
    tmp_path: Path, unbroken: Path
) -> None:
    command = failing({"cuda:0": ECC}, ARL)
    folder = prepare(tmp_path / "ecc")
    refused = ran_with_gpus(folder, *command, "--devices", "cuda:0,cpu", "--jobs", "1")
    assert about("cuda:0", refused) == [
        f"{LEFT_OUT}It is not used again; another device continues mini arl seed 1"
    ]
    assert refused.returncode == 1, refused.stderr
    assert "device: cuda -> cpu" in refused.stderr
    started = epochs_in(run_in(folder))
    assert started, "nothing was lost"
    done = ran_with_gpus(folder, *command, "--devices", "cuda")
    assert done.returncode == 0, done.stderr
    assert about("cuda:0", done) == [
        f"{LEFT_OUT}It is not used again; another device continues mini arl seed 1"
    ]
    assert outputs(folder / "results") == outputs(unbroken / "results")
    assert record_in(folder).timing.resumed > 0


@pytest.mark.usefixtures("nvidia_smi")
def test_an_assertion_costs_its_run_and_no_device(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "assert")
    done = ran_with_gpus(folder, *failing({"cuda:0": ASSERT}), "--devices", "cuda:0")
    assert done.returncode == 1, done.stderr
    assert "2 failed" in done.stderr
    assert len(about("device-side assert", done)) == 2
