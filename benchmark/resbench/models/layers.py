"""Residual units of all families, the layers they are made of, and their initial weights.

Shape suffixes: B batch, C channels, H height, W width. Every unit is pre-activation and maps
``x_BCHW`` to ``(B, channels_out, ceil(H / stride), ceil(W / stride))``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Settings:
    """Settings that all layers of a network share."""

    width: float = 1.0
    """Multiplies every channel number but the image's and the classes'."""
    bn_eps: float = 1e-5
    bn_momentum: float = 0.1
    """Weight of the new batch in the running statistics (Keras writes 1 minus this)."""
    batch_norm: bool = True
    """Whether stem and units of the report normalise; without, only ReLU is left."""

    def channels(self, at_width_1: int) -> int:
        """Scale a channel number to the nearest multiple of 4, at least 4."""
        return at_width_1 if self.width == 1 else max(4, 4 * round(at_width_1 * self.width / 4))


class BNReLU(nn.BatchNorm2d):
    """Batch normalisation, then ReLU in place.

    It keeps no ``num_batches_tracked``: torch reads that counter only for a cumulative average,
    and updating it costs one kernel launch a layer and step.
    """

    def __init__(self, channels: int, settings: Settings) -> None:
        super().__init__(channels, eps=settings.bn_eps, momentum=settings.bn_momentum)
        self.num_batches_tracked = None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return ``max(0, BN(x))``, of the input's shape."""
        return F.relu(super().forward(x_BCHW), inplace=True)

    def reset_running_stats(self) -> None:
        """Set the running mean to 0 and the running variance to 1."""
        nn.init.zeros_(cast(Tensor, self.running_mean))
        nn.init.ones_(cast(Tensor, self.running_var))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        # safetensors loses the version number of a state dict; BatchNorm then adds the counter it
        # believes missing, and strict loading refuses that key.
        nn.Module._load_from_state_dict(self, *args, **kwargs)


def norm_relu(channels: int, settings: Settings) -> nn.Module:
    """Return BN-ReLU, or ReLU alone where the network has no batch normalisation."""
    # Not in place without BN: the input is read again by the shortcut.
    return BNReLU(channels, settings) if settings.batch_norm else nn.ReLU()


def conv(
    channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1, *, bias: bool = False
) -> nn.Conv2d:
    """Return a convolution padded so that the output is ``ceil(size / stride)`` pixels wide."""
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=bias)


class ResidualUnit(nn.Module):
    """Base of the units: what a network repeats, and what an engine may compile one by one."""


class PreActUnit(ResidualUnit):
    """Pre-activation bottleneck, He et al. 2016, https://arxiv.org/abs/1603.05027.

    ``a = ReLU(BN(x))``; the residual is 1x1 -> BN-ReLU -> 3x3 (stride) -> BN-ReLU -> 1x1 of ``a``.
    The shortcut is ``x``, or a 1x1 convolution of ``a`` where the shape changes. No biases.
    """

    def __init__(
        self, channels_in: int, mid: int, channels_out: int, stride: int, settings: Settings
    ) -> None:
        super().__init__()
        self.norm1 = BNReLU(channels_in, settings)
        self.conv1 = conv(channels_in, mid)
        self.norm2 = BNReLU(mid, settings)
        self.conv2 = conv(mid, mid, 3, stride)
        self.norm3 = BNReLU(mid, settings)
        self.conv3 = conv(mid, channels_out)
        same_shape = channels_in == channels_out and stride == 1
        self.shortcut = None if same_shape else conv(channels_in, channels_out, stride=stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return shortcut + residual."""
        a_BCHW = self.norm1(x_BCHW)
        shortcut = x_BCHW if self.shortcut is None else self.shortcut(a_BCHW)
        y_BCHW = self.conv2(self.norm2(self.conv1(a_BCHW)))
        return self.conv3(self.norm3(y_BCHW)) + shortcut


class ReportUnit(ResidualUnit):
    """The 2019 report's unit: three BN-ReLU-conv (1x1, 3x3 with the stride, 1x1), all with biases.

    The shortcut is always a 1x1 convolution, of the raw ``x`` and not of its activation.
    """

    def __init__(
        self, channels_in: int, mid: int, channels_out: int, stride: int, settings: Settings
    ) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            norm_relu(channels_in, settings),
            conv(channels_in, mid, bias=True),
            norm_relu(mid, settings),
            conv(mid, mid, 3, stride, bias=True),
            norm_relu(mid, settings),
            conv(mid, channels_out, bias=True),
        )
        self.shortcut = conv(channels_in, channels_out, stride=stride, bias=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return shortcut + residual."""
        return self.residual(x_BCHW) + self.shortcut(x_BCHW)


class InceptionUnit(ResidualUnit):
    """The "Residual Inception Unit" of the 2019 report's section 3.2, which its code never had.

    Three branches of ``mid`` channels (1x1, 3x3, double 1x1) read ``ReLU(BN(x))``; their
    concatenation goes through BN-ReLU and a 1x1 projection. Shortcut and biases as in ReportUnit.
    """

    def __init__(
        self, channels_in: int, mid: int, channels_out: int, stride: int, settings: Settings
    ) -> None:
        super().__init__()
        self.norm = norm_relu(channels_in, settings)
        self.branch1 = conv(channels_in, mid, stride=stride, bias=True)
        self.branch3 = conv(channels_in, mid, 3, stride, bias=True)
        self.branch11 = nn.Sequential(
            conv(channels_in, mid, stride=stride, bias=True),
            norm_relu(mid, settings),
            conv(mid, mid, bias=True),
        )
        self.project = nn.Sequential(
            norm_relu(3 * mid, settings), conv(3 * mid, channels_out, bias=True)
        )
        self.shortcut = conv(channels_in, channels_out, stride=stride, bias=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return shortcut + projection of the three branches."""
        a_BCHW = self.norm(x_BCHW)
        branches = (self.branch1(a_BCHW), self.branch3(a_BCHW), self.branch11(a_BCHW))
        return self.project(torch.cat(branches, dim=1)) + self.shortcut(x_BCHW)


class GlobalMean(nn.Module):
    """Mean over all positions: deterministic in backward on a GPU, as adaptive pooling is not."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return ``x_BC``."""
        return x_BCHW.mean(dim=(2, 3))


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
            fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
            # Drawn on the generator's device and contiguous, so that neither the model's device
            # nor channels_last weights change which number lands where.
            sample = torch.empty(weight.shape, device=generator.device)
            if scheme == "he":
                sample.normal_(0.0, math.sqrt(2 / fan_in), generator=generator)
            else:
                bound = math.sqrt(6 / (fan_in + fan_out))
                sample.uniform_(-bound, bound, generator=generator)
            weight.copy_(sample)
            if module.bias is not None:
                module.bias.zero_()
