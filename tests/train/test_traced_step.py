"""What a training step asks of a GPU, traced without one.

The numbers are of torch 2.13 and Attention-56 at an eighth of its width; a step that needs more
kernels or memory than the budgets allow is slower on a GPU, whatever it is on a CPU.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ..mini import REPORT

ROOT = Path(__file__).resolve().parents[2]

KINDS: dict[str, tuple[dict[str, Any], int, int]] = {
    "arl, fp32": ({"precision": "fp32"}, 823, 1_950_000),
    "arl": ({}, 828, 1_050_000),
    "nal": ({"model__learning": "nal"}, 819, 1_050_000),
    "spatial": ({"model__activation": "spatial"}, 903, 1_150_000),
    "channel": ({"model__activation": "channel"}, 885, 1_100_000),
    "local": ({"model__mask": "local"}, 630, 1_080_000),
    "report": (REPORT, 667, 3_100_000),
}
"""Changes to a run in bf16; its budgets: operators that launch kernels, and bytes alive at the peak
next to weights and their state."""
IMAGES_BYTES = 4 * (64 * 9 * 9 + 10)
"""Of 64 images of 8 px, an int32 a pixel, padded by one; those of the report are larger."""
OF_THE_NETWORK = ("convolution", "native_batch_norm", "cudnn_batch_norm", "relu_", "add", "bmm")


@pytest.fixture(scope="module")
def fake_cuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that gives this torch a CUDA device which does nothing."""
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":  # it links as Linux does
        pytest.skip("no traced step: g++ is not installed")
    if torch.version.cuda is not None:
        pytest.skip("no traced step: this torch has a CUDA of its own")
    include = Path(torch.__file__).parent / "include"
    folders = [f"-I{include}", f"-I{include}/torch/csrc/api/include"]
    library = tmp_path_factory.mktemp("fake") / "fake_cuda.so"
    source = Path(__file__).with_name("fake_cuda.cpp")
    options = ["-O0", "-shared", "-fPIC", "-std=c++20"]
    command = [compiler, *options, *folders, str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


SLOW = [kind for kind in KINDS if kind != "arl"]


@pytest.mark.parametrize(
    "kinds",
    [[kind for kind in KINDS if kind not in SLOW], pytest.param(SLOW, marks=pytest.mark.slow)],
)
def test_a_step_keeps_to_the_gpu_to_one_precision_and_to_its_budgets(
    fake_cuda: Path, kinds: Sequence[str]
) -> None:
    """An arm in another precision differs from its rivals in more than its table compares."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.traced", str(fake_cuda)],
        input=json.dumps([{"precision": "bf16", **KINDS[kind][0]} for kind in kinds]),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    for kind, trace in zip(kinds, json.loads(done.stdout), strict=True):
        _, kernels, peak_bytes = KINDS[kind]
        for part in (trace["step"], trace["evaluation"]):
            assert part["kernels"] > 100, kind
            assert (part["crossings"], part["syncs"], part["strides"]) == ([], [], []), kind
            found = {
                dtype
                for name in OF_THE_NETWORK
                for dtype in part["dtypes"].get(name, {})
                if "int" not in dtype
            }
            assert found == {"float32" if kind == "arl, fp32" else "bfloat16"}, kind
            if kind != "arl, fp32":  # cuDNN's waits for the whole GPU: in a pack, perhaps forever
                assert "cudnn_batch_norm" not in part["dtypes"], kind
        casts = trace["step"]["dtypes"].get("_foreach_copy_", {"none": 0})
        there_and_back = 0 if kind == "arl, fp32" else 2
        assert casts["none"] == there_and_back, f"{kind}: weights there, gradients back"
        assert sum(trace["step"]["dtypes"]["_to_copy"].values()) < 30, f"{kind}: of activations"
        assert trace["step"]["kernels"] <= kernels, kind
        assert trace["step"]["peak_bytes"] <= peak_bytes, kind
        saved = trace["first"]["peak_bytes"] - trace["second"]["peak_bytes"]
        assert saved >= IMAGES_BYTES, f"{kind}: lanes of a pack share their images"
