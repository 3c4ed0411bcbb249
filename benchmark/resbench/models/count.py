"""Sizes of a network that is not trained: parameters, MACs, depth, output sizes.

MACs and sizes come from a forward pass of one image, on the device where the network is: the meta
device computes only shapes, so that the largest network needs no memory there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from resbench.models.attention import AttentionModule
from resbench.models.layers import ResidualUnit


def residual_units(model: nn.Module) -> Iterator[ResidualUnit]:
    """Yield every residual unit, masks included: the pieces worth compiling one by one."""
    return (module for module in model.modules() if isinstance(module, ResidualUnit))


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_with_bn_statistics(model: nn.Module) -> int:
    """Return parameters plus running means and variances, the total that Keras prints."""
    return count_parameters(model) + sum(buffer.numel() for buffer in model.buffers())


def trunk_depth(model: nn.Module) -> int:
    """Return the weighted layers from image to logits, past masks and shortcuts.

    36 m + 20 for wang2017 with {p=1, t=2, r=1} (Wang et al. 2017, section 4.1).
    """
    if isinstance(model, ResidualUnit):
        return model.depth
    if isinstance(model, nn.Conv2d | nn.Linear):
        return 1
    skipped = model.mask if isinstance(model, AttentionModule) else None
    return sum(trunk_depth(child) for child in model.children() if child is not skipped)


def count_macs(model: nn.Module, image_px: int = 32) -> int:
    """Return multiply-accumulates of one forward pass of one image.

    Convolutions and the classifier count; batch normalisation, element-wise products, pooling and
    up-sampling do not. (Up-sampling as dense products would add work that interpolation, which
    reads four neighbours, does not have.)
    """
    macs = 0

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal macs
        macs += output.numel() * cast(Tensor, layer.weight)[0].numel()

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    _forward_once(model, image_px, dict.fromkeys(layers, count))
    return macs


@dataclass(frozen=True)
class StageSize:
    """Output size of one row of an architecture table."""

    row: str
    size: tuple[int, ...]
    """(H, W, C), or (classes,) for the classifier."""

    def __str__(self) -> str:
        return "x".join(map(str, self.size))


def output_sizes(model: nn.Sequential, image_px: int = 32) -> list[StageSize]:
    """Return the output size of every row of the network's architecture table, in order."""
    sizes: list[StageSize] = []

    def record(row: str) -> _Hook:
        def hook(module: nn.Module, _: Any, output: Tensor) -> None:
            channels, *positions = output.shape[1:]
            if not positions and not isinstance(module, nn.Linear):
                positions = [1, 1]  # pooled features, which the tables write as 1x1xC
            sizes.append(StageSize(row, (*positions, channels)))

        return hook

    _forward_once(model, image_px, {row: record(name) for name, row in model.named_children()})
    return sizes


_Hook = Callable[[nn.Module, Any, Tensor], None]


@torch.no_grad()
def _forward_once(model: nn.Module, image_px: int, hooks: Mapping[nn.Module, _Hook]) -> None:
    """Pass one black image through a model in evaluation mode, and leave the model as it was.

    A layer's hook is called with the layer, its arguments and its output.
    """
    x_BCHW = torch.zeros(1, 3, image_px, image_px, device=next(model.parameters()).device)
    in_training = [module for module in model.modules() if module.training]
    handles = [layer.register_forward_hook(hook) for layer, hook in hooks.items()]
    try:
        model.eval()(x_BCHW)
    finally:
        for module in in_training:
            module.training = True
        for handle in handles:
            handle.remove()
