"""The weights of a network in bf16: one kernel for all of them, and one for all their gradients.

Autocast casts each by a kernel of its own, a fifth of all kernels of a step. The bits are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class _Cast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)  # what a step does not use has no gradient
        return _copies(weights, torch.bfloat16)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        some = tuple(gradient for gradient in gradients if gradient is not None)
        copies = iter(_copies(some, torch.float32))
        return tuple(None if gradient is None else next(copies) for gradient in gradients)


def _copies(tensors: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    if copies:  # torch takes no empty list
        torch._foreach_copy_(copies, tensors)
    return tuple(copies)


class Bf16Forward:
    """Calls a network with the weights of its convolutions and linear layers in bf16.

    To be called under autocast, which finds nothing left to cast in them. A subclass of a layer may
    compute with its weights before it casts them, so it is left to autocast.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.weights = {
            f"{path}.{name}".lstrip("."): weight
            for path, module in model.named_modules()
            if type(module) in (nn.Conv2d, nn.Linear)
            for name, weight in module.named_parameters()
            if weight.requires_grad
        }

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Return the network's output."""
        cast = dict(zip(self.weights, _Cast.apply(*self.weights.values()), strict=True))
        logits_BK: Tensor = functional_call(self.model, cast, (x_BCHW,))
        return logits_BK
