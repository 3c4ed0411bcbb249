"""Bilinear up-sampling as two products with fixed matrices.

Shape suffixes: B batch, C channels, h and w the sizes before, H and W the sizes after.

torch's own bilinear kernel adds with atomics in its CUDA backward, so it is slow or refused where
results have to be repeatable, and it is slow on a CPU. A product with a constant matrix is exact,
deterministic in both directions, and keeps channels_last.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


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

    The memory format of the input (contiguous or channels_last) is kept.
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
