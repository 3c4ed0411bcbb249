"""What a network counts: its trainable parameters, and the multiply-accumulates of one image."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@torch.no_grad()
def count_macs(model: nn.Module, image_px: int = 32) -> int:
    """Return multiply-accumulates of one forward pass of one image, and leave evaluation mode on.

    Convolutions and the classifier count; batch normalisation, element-wise products, pooling and
    up-sampling do not. (Up-sampling as dense products would add work that interpolation, which
    reads four neighbours, does not have.) On the meta device no image is computed.
    """
    macs = 0

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal macs
        macs += output.numel() * cast(Tensor, layer.weight)[0].numel()

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    device = next(model.parameters()).device
    model.eval()(torch.zeros(1, 3, image_px, image_px, device=device))
    for handle in handles:
        handle.remove()
    return macs
