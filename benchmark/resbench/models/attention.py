"""Attention Modules: soft masks, their activations, and how a mask meets its trunk.

Shape suffixes: B batch, C channels, H height, W width; of up-sampling, h and w are the sizes before
and H and W those after. A mask maps ``x_BCHW`` to a tensor of the same shape. Source: Wang et al.
2017, https://arxiv.org/abs/1704.06904, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resbench.models.layers import BNReLU, Settings, conv

Activation = Callable[[Tensor], Tensor]
Units = Callable[[int], nn.Sequential]


def channel_attention(x_BCHW: Tensor) -> Tensor:
    """Wang et al. 2017, Eq. 5: ``x / ||x||_2`` over the channels of each position, no sigmoid."""
    return F.normalize(x_BCHW, dim=1).type_as(x_BCHW)


def spatial_attention(x_BCHW: Tensor) -> Tensor:
    """Wang et al. 2017, Eq. 6: ``sigmoid((x - mean) / std)`` over each sample's feature map."""
    var, mean = torch.var_mean(x_BCHW, dim=(2, 3), correction=0, keepdim=True)
    mask_BCHW = torch.sigmoid((x_BCHW - mean) * torch.rsqrt(var + 1e-5))
    # Autocast makes the root float32, and all that follows: the arm would no longer differ from its
    # rivals in the activation alone.
    return mask_BCHW.type_as(x_BCHW)


ACTIVATIONS: dict[str, Activation] = {
    "mixed": torch.sigmoid,  # Wang et al. 2017, Eq. 4
    "channel": channel_attention,
    "spatial": spatial_attention,
}


def interpolation_matrix(size_in: int, size_out: int, dtype: torch.dtype) -> Tensor:
    """Return the (size_out, size_in) matrix of 1-D linear interpolation, corners aligned.

    Output ``i`` reads position ``i * (size_in - 1) / (size_out - 1)`` of the input; computed in
    fp64, then cast. In half precision the smaller weight of a row is what the larger one leaves of
    1: both rounded on their own would change the brightness by up to 0.2 %.
    """
    position = torch.arange(size_out, dtype=torch.float64)
    position = position * ((size_in - 1) / max(size_out - 1, 1))
    pixel = torch.arange(size_in, dtype=torch.float64)
    weights = (1 - (position[:, None] - pixel).abs()).clamp(min=0)
    if dtype.itemsize < 4:
        larger = weights.amax(1, keepdim=True).to(dtype).to(weights.dtype)
        weights = torch.where(weights < 0.5, (1 - larger) * (weights > 0), larger)
    return weights.to(dtype)


@lru_cache(maxsize=256)
def _shared_matrix(size_in: int, size_out: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Made on the CPU, so that a CUDA graph captured without a warm-up fails at the copy: a matrix
    # made during capture would be in the graph's memory and garbage outside it. Outside inference
    # mode, because a matrix first needed in evaluation is used by a later backward too.
    with torch.inference_mode(False):
        return interpolation_matrix(size_in, size_out, dtype).to(device)


def upsample_bilinear(x_BChw: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Resize to ``size`` (H, W) like ``F.interpolate(mode="bilinear", align_corners=True)``.

    torch's own kernel adds with atomics in its CUDA backward, so it is slow or refused where
    results have to be repeatable, and it is slow on a CPU. Two products with constant matrices are
    exact and deterministic in both directions. The memory format (contiguous or channels_last) is
    kept.
    """
    h, w = x_BChw.shape[-2:]
    if (h, w) == tuple(size):
        return x_BChw
    rows_Hh = _shared_matrix(h, size[0], x_BChw.dtype, x_BChw.device)
    cols_Ww = _shared_matrix(w, size[1], x_BChw.dtype, x_BChw.device)
    if not x_BChw.is_contiguous(memory_format=torch.channels_last):
        return rows_Hh @ (x_BChw @ cols_Ww.mT)
    x_BhwC = x_BChw.permute(0, 2, 3, 1)
    x_BhWC = cols_Ww @ x_BhwC
    x_BHWC = (rows_Hh @ x_BhWC.flatten(2)).unflatten(2, x_BhWC.shape[2:])
    return x_BHWC.permute(0, 3, 1, 2)


def upsample_nearest_x2(x_BCHW: Tensor) -> Tensor:
    """Repeat each pixel twice in both directions (Keras ``UpSampling2D``)."""
    # Autocast has it in float32, though copies are exact in any precision.
    return F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest").type_as(x_BCHW)


class AttentionModule(nn.Module):
    """Units before, trunk and soft mask side by side, units after.

    ``H = (1 + M) * T`` for attention residual learning ("arl", Wang et al. 2017, Eq. 3) or
    ``H = M * T`` for naive attention learning ("nal").
    """

    def __init__(
        self, before: nn.Module, trunk: nn.Module, mask: nn.Module, after: nn.Module, learning: str
    ) -> None:
        super().__init__()
        self.before = before
        self.trunk = trunk
        self.mask = mask
        self.after = after
        self.residual = learning == "arl"

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the module's output, of the input's shape."""
        x_BCHW = self.before(x_BCHW)
        T_BCHW, M_BCHW = self.trunk(x_BCHW), self.mask(x_BCHW)
        # addcmul reads T and M once and writes once; (1 + M) * T would write 1 + M as well.
        H_BCHW = torch.addcmul(T_BCHW, M_BCHW, T_BCHW) if self.residual else M_BCHW * T_BCHW
        return self.after(H_BCHW)


class EncoderDecoderMask(nn.Module):
    """Bottom-up top-down mask with ``poolings`` levels (Wang et al. 2017, Fig. 2).

    Down: max-pool and r units a level, 2r units at the bottom. Up: bilinear to the size of the
    level above, add a unit of what that level held, r units; a last bilinear to the input's size,
    two 1x1 convolutions, the activation. ``pooled=False`` keeps the same units at full resolution.
    ``units(n)`` makes n chained units, here as in the masks below.

    From the authors' ImageNet definitions, as the paper only draws them: 3x3 poolings without
    padding, aligned corners of the interpolation, the unit on each skip, BN-ReLU in the tail.
    """

    def __init__(
        self,
        channels: int,
        units: Units,
        *,
        poolings: int,
        r: int,
        activation: Activation,
        settings: Settings,
        pooled: bool = True,
    ) -> None:
        super().__init__()

        def pool() -> nn.Module:
            if not pooled:
                return nn.Identity()
            return nn.MaxPool2d(3, stride=2, ceil_mode=True)  # Caffe rounds sizes up

        levels = range(poolings - 1)
        self.down = nn.ModuleList(nn.Sequential(pool(), *units(r)) for _ in levels)
        self.bottom = nn.Sequential(pool(), *units(2 * r))
        self.skips = nn.ModuleList(units(1)[0] for _ in levels)
        self.up = nn.ModuleList(units(r) for _ in levels)
        self.tail = nn.Sequential(
            BNReLU(channels, settings),
            conv(channels, channels),
            BNReLU(channels, settings),
            conv(channels, channels),
        )
        self.activation = activation

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the mask, of the input's shape."""
        size, kept = x_BCHW.shape[-2:], []
        for down in self.down:
            x_BCHW = down(x_BCHW)
            kept.append(x_BCHW)
        x_BCHW = self.bottom(x_BCHW)
        for skip, up in zip(self.skips, self.up, strict=True):
            k_BCHW = kept.pop()
            x_BCHW = up(upsample_bilinear(x_BCHW, k_BCHW.shape[-2:]) + skip(k_BCHW))
        return self.activation(self.tail(upsample_bilinear(x_BCHW, size)))


class LocalMask(nn.Module):
    """Local-convolution mask (Wang et al. 2017, Table 4): three units at full resolution."""

    def __init__(self, units: Units, activation: Activation) -> None:
        super().__init__()
        self.units = units(3)
        self.activation = activation

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the mask, of the input's shape."""
        return self.activation(self.units(x_BCHW))


class MaskLevel(nn.Module):
    """Max-pool 2x2, units of full width, and ``skips`` more such levels inside.

    What is inside comes back by nearest x2 and is added to a unit of what went in. The output has
    half the input's sides.
    """

    def __init__(self, units: Units, skips: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.down = units(1)
        self.inner = MaskLevel(units, skips - 1) if skips else None
        self.skip = units(1) if skips else None
        self.up = units(1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features at half the input's sides."""
        x_BCHW = self.down(self.pool(x_BCHW))
        if self.inner is not None and self.skip is not None:
            x_BCHW = upsample_nearest_x2(self.inner(x_BCHW)) + self.skip(x_BCHW)
        return self.up(x_BCHW)


class ReportMask(nn.Module):
    """Soft mask of the report: levels of pooling, nearest x2, 1x1 twice, sigmoid."""

    def __init__(self, channels: int, units: Units, skips: int) -> None:
        super().__init__()
        self.level = MaskLevel(units, skips)
        self.tail = nn.Sequential(
            conv(channels, channels, bias=True), conv(channels, channels, bias=True)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the mask in (0, 1), of the input's shape."""
        return torch.sigmoid(self.tail(upsample_nearest_x2(self.level(x_BCHW))))


class ReportNet(nn.Sequential):
    """A network of the report; its children are the rows of the report's Table 5."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits (B, classes).

        Raises:
            ValueError: the sides are no multiples of 16, so that pooling by 2 and repeating by 2
                would not meet again.
        """
        height, width = x_BCHW.shape[-2:]
        if height % 16 or width % 16:
            raise ValueError(
                f"report2019 networks need image sides divisible by 16 (masks pool and up-sample "
                f"by exactly 2), got {height}x{width}."
            )
        return super().forward(x_BCHW)
