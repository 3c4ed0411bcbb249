"""``python -m tests.train.traced FAKE_CUDA.so``: steps traced without a GPU.

Standard input holds, as JSON, a list of changes to a run's specification; what the training step
and the evaluation of each would ask of a GPU comes out as JSON.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

if __name__ == "__main__":  # before torch looks for an accelerator
    (_torch,) = importlib.util.find_spec("torch").submodule_search_locations  # type: ignore
    for _name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(Path(_torch) / "lib" / _name), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(sys.argv[1])

import torch
from msgspec import structs
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from resbench.data.digits import read_digits
from resbench.train import lane as lane_module
from resbench.train.lane import EVAL_BATCH, Lane
from resbench.train.prepare import prepare_images

from ..mini import spec_of

CUDA = torch.device("cuda:0")
PARTS = ("kernels", "crossings", "syncs", "dtypes", "strides", "peak_bytes")
HOST_SYNCS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "is_nonzero", "equal")
FREE = (
    "empty", "empty_strided", "empty_like", "device", "detach", "alias", "lift_fresh",
    "_unsafe_view",
)  # fmt: skip
"""Operators that launch no kernel, next to views."""


class Trace(TorchDispatchMode):
    """Counts what a GPU would be asked to do, and the memory that would be alive."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = 0
        self.crossings: list[str] = []
        self.syncs: list[str] = []
        self.dtypes: dict[str, dict[str, int]] = {}
        self.strides: list[str] = []
        """What keeps a fused optimizer from its fast path."""
        self.peak_bytes = 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name.startswith(("_fused_", "_foreach_")):
            self._check_lists(name, args)
        # Fake tensors know no fused kernel; it returns nothing.
        result = None if name.startswith("_fused_") else func(*args, **kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if name in HOST_SYNCS:
            self.syncs.append(name)
        if len({tensor.device.type for tensor in [*inputs, *outputs]}) > 1:
            self.crossings.append(name)
        if name not in FREE and not _is_view(func):
            self.kernels += 1
            kind = str(outputs[0].dtype).removeprefix("torch.") if outputs else "none"
            counts = self.dtypes.setdefault(name, {})
            counts[kind] = counts.get(kind, 0) + 1
        self._weigh(outputs)
        return result

    def _check_lists(self, name: str, args: Sequence[Any]) -> None:
        """As ForeachUtils.h: every list has its parameter's device and strides."""
        lists = [argument for argument in args if isinstance(argument, list | tuple) and argument]
        for tensors in lists[1:]:
            for parameter, tensor in zip(lists[0], tensors, strict=True):
                alike = tensor.dim() == 0 or _strides(tensor) == _strides(parameter)
                if not alike or tensor.device != parameter.device:
                    self.strides.append(f"{name} {tuple(parameter.shape)}")

    def _weigh(self, outputs: list[Tensor]) -> None:
        for tensor in outputs:
            if tensor.device.type == "cuda":
                storage = tensor.untyped_storage()
                self._live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        if sum(size for _, size in self._live.values()) > self.peak_bytes:
            self._live = {k: (ref, n) for k, (ref, n) in self._live.items() if not ref.expired()}
            alive = sum(size for _, size in self._live.values())
            self.peak_bytes = max(self.peak_bytes, alive)


def _is_view(func: Any) -> bool:
    aliases = [result.alias_info for result in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _strides(tensor: Tensor) -> list[tuple[int, int]]:
    """Sizes and strides of the dimensions whose strides mean something."""
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return [(size, stride) for size, stride in pairs if size > 1]


def _to(module: nn.Module, device: torch.device, memory_format: Any = None) -> nn.Module:
    """Stands for ``Module.to``, which cannot put fake data into real parameters."""

    def fake(tensor: Tensor) -> Tensor:
        new = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        return new.to(memory_format=memory_format) if memory_format and new.dim() == 4 else new

    for part in module.modules():
        for name, parameter in part._parameters.items():
            part._parameters[name] = None if parameter is None else nn.Parameter(fake(parameter))
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else fake(buffer)
    return module


@contextmanager
def _autocast(lane: Lane) -> Iterator[None]:
    """What ``torch.autocast("cuda")`` does in a torch that has CUDA."""
    torch.set_autocast_enabled("cuda", lane.spec.precision == "bf16")
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)


def trace(changes: dict[str, Any]) -> dict[str, Any]:
    """Trace two lanes of a pack as they are made, a step and an evaluation of the first."""
    spec = spec_of(**{"engine": "graph", **changes})
    images = prepare_images(spec, read_digits())
    real_build = lane_module.build

    def build(*args: Any, **options: Any) -> nn.Module:
        with unset_fake_temporarily():
            return real_build(*args, **options)

    with (
        patch.object(nn.Module, "to", _to),
        patch.object(Lane, "autocast", _autocast),
        patch.object(lane_module, "build", build),
        patch.object(lane_module, "initialize", lambda *_: None),
        FakeTensorMode(allow_non_fake_inputs=True),
    ):
        with Trace() as first:
            lane = Lane(spec, images, CUDA)
        with Trace() as second:
            Lane(structs.replace(spec, seed=2), images, CUDA, like=lane)
        lane.begin_epoch(1)
        with Trace():  # constants are made in a warm-up, as in the engine's
            lane.train_step(*lane.batch(0))
        with Trace() as step:
            lane.train_step(*lane.batch(0))
        lane.model.eval()
        x = torch.empty(EVAL_BATCH["cuda"], 3, *[spec.data.image_px or 32] * 2, device=CUDA)
        x = x.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            lane.eval_logits(x)
            with Trace() as evaluation:
                lane.eval_logits(x)
    traces = {"first": first, "second": second, "step": step, "evaluation": evaluation}
    return {name: {part: getattr(one, part) for part in PARTS} for name, one in traces.items()}


if __name__ == "__main__":
    print(json.dumps([trace(changes) for changes in json.load(sys.stdin)]))
