"""What masks do to values and gradients, before the first step and after the last.

Wang et al. 2017, section 3.1, explains the failure of naive attention by values that fade when
masks between 0 and 1 are multiplied again and again. These numbers, in every record of an attention
network, show whether they do. Measured on the first training images without augmentation, in
training mode (statistics of the batch), on a copy: the run itself sees nothing of it.
"""

from __future__ import annotations

import copy
import itertools
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from resbench.models.attention import AttentionModule
from resbench.store.records import Signals, StageSignals

if TYPE_CHECKING:
    from resbench.train.lane import Lane

BATCHES = 4
BATCH = 64


def measure_signals(lane: Lane, model: nn.Module) -> Signals | None:
    """Return the sizes of features, masks and gradients of ``model`` on the run's first images.

    None for a network without Attention Modules, or where a number is not finite. Features and
    masks are those of the last module of each stage; all numbers are means over the batches.
    """
    model = copy.deepcopy(model).train()
    model.zero_grad()
    last = {
        row: modules[-1]
        for row, part in model.named_children()
        if (modules := [m for m in part.modules() if isinstance(m, AttentionModule)])
    }
    if not last:
        return None
    seen: dict[str, list[list[float]]] = {row: [] for row in last}
    handles = [handle for row, m in last.items() for handle in _watch(m, seen[row])]
    norms = []
    stem = next(m for m in model.modules() if isinstance(m, nn.Conv2d)).weight
    images, labels = lane.images.train_images, lane.pipeline.labels
    with torch.random.fork_rng(devices=[lane.device] if lane.device.type == "cuda" else []):
        torch.manual_seed(0)  # dropout
        for start in range(0, min(BATCHES * BATCH, len(images)), BATCH):
            x_BCHW = lane.pipeline.normalise_eval(images[start : start + BATCH])
            model.zero_grad()
            with lane.autocast():
                logits_BK = model(x_BCHW)
            F.cross_entropy(logits_BK.float(), labels[start : start + BATCH]).backward()
            assert stem.grad is not None
            norms.append(stem.grad.float().norm().item())
    for handle in handles:
        handle.remove()
    means = {row: [sum(column) / len(column) for column in zip(*values, strict=True)]
             for row, values in seen.items()}  # fmt: skip
    if not all(map(math.isfinite, itertools.chain(norms, *means.values()))):
        return None
    names = StageSignals.__struct_fields__
    stages = {row: StageSignals(**dict(zip(names, mean, strict=True)))
              for row, mean in means.items()}  # fmt: skip
    return Signals(stem_grad_norm=sum(norms) / len(norms), stages=stages)


def _watch(module: AttentionModule, into: list[list[float]]) -> list[RemovableHandle]:
    """Note trunk, mask and product of a module at each forward pass."""
    row: list[float] = []

    def trunk(_: nn.Module, __: object, T_BCHW: Tensor) -> None:
        row[:] = [_rms(T_BCHW)]

    def mask(_: nn.Module, __: object, M_BCHW: Tensor) -> None:
        M_BCHW = M_BCHW.detach().float()
        row.extend([M_BCHW.mean().item(), M_BCHW.std(correction=0).item()])

    def product(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        into.append([*row, _rms(arguments[0])])

    return [
        module.trunk.register_forward_hook(trunk),
        module.mask.register_forward_hook(mask),
        module.after.register_forward_pre_hook(product),
    ]


def _rms(x_BCHW: Tensor) -> float:
    return x_BCHW.detach().float().square().mean().sqrt().item()
