"""How many bytes a training step moves: every kernel reads its inputs and writes its outputs once.

This is the traffic of a step that fuses nothing, which is what a CUDA graph of eager kernels is;
caches can only make the true number smaller, so a share of bandwidth computed from it is an upper
estimate of the memory's load and an honest measure of how fast unfused work goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from resbench.suite.spec import RunSpec
from resbench.train.calibrate import made_images
from resbench.train.lane import Lane


class Traffic(TorchDispatchMode):
    """Adds up the bytes of the tensors that each operator reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operator; one that only makes a view moves nothing."""
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            moved = tree_leaves((args, kwargs, out))
            self.bytes += sum(x.numel() * x.element_size() for x in moved if isinstance(x, Tensor))
        return out


def traffic_of(spec: RunSpec, device: torch.device) -> int:
    """Return the bytes of one training step of a specification with made images."""
    lane = Lane(spec, made_images(spec, spec.training.batch_size), device)
    lane.begin_epoch(1)
    with Traffic() as traffic:
        lane.train_step(lane.draws.index, lane.draws.params)
    return traffic.bytes
