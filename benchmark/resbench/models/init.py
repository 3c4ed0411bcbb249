"""Initialisation schemes: deterministic for a generator, whatever the device or memory format."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Sampler = Callable[[Tensor, int, int, torch.Generator], Tensor]


def _he(out: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> Tensor:
    return out.normal_(0.0, math.sqrt(2 / fan_in), generator=generator)


def _glorot(out: Tensor, fan_in: int, fan_out: int, generator: torch.Generator) -> Tensor:
    bound = math.sqrt(6 / (fan_in + fan_out))
    return out.uniform_(-bound, bound, generator=generator)


SCHEMES: dict[str, Sampler] = {"he": _he, "glorot": _glorot}


@torch.no_grad()
def initialize(model: nn.Module, scheme: str, generator: torch.Generator) -> None:
    """Draw all weights anew, in place, in the order of ``model.modules()``.

    - "he": normal with variance ``2 / fan_in`` (He et al. 2015, https://arxiv.org/abs/1502.01852,
      Eq. 10, and the default of Caffe's MSRA filler, the framework of Wang et al. 2017).
    - "glorot": uniform within ``sqrt(6 / (fan_in + fan_out))`` (Glorot and Bengio 2010, the
      default of Keras).

    Convolutions and the classifier are drawn by the same rule. Biases become 0, batch
    normalisation starts at weight 1, bias 0, mean 0, variance 1.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight
            fan_in, field = weight[0].numel(), weight[0, 0].numel()
            # Drawn on the generator's device and contiguous, so that neither the model's device
            # nor channels_last weights change which number lands where.
            sample = torch.empty(weight.shape, device=generator.device)
            weight.copy_(SCHEMES[scheme](sample, fan_in, weight.shape[0] * field, generator))
            if module.bias is not None:
                module.bias.zero_()
