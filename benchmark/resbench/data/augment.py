"""Random transformations of training images, drawn for many images at once on the CPU.

``crop_flip`` (Wang et al. 2017, section 4.1): zeros on each side, a random crop of the image's
size, a mirror image half the time. The mean image is subtracted before, so the zeros are exact:
the authors' framework, Caffe, subtracts it at the position that a pixel has in the uncropped
image. ``affine`` (the 2019 report): what Keras' ImageDataGenerator does with
rotation_range, width_shift_range = height_shift_range, zoom_range and horizontal_flip, filling with
the nearest pixel.

Parameters are drawn here and applied in :mod:`resbench.data.pipeline`, so that a CPU and a GPU use
the same numbers and a captured training step contains no random generator.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resbench.suite.spec import Augment


def draw(augment: Augment, n: int, side_px: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw the parameters of ``n`` images of (H, W) px: a CPU tensor ``[n, k]``.

    crop_flip: int64 ``[n, 3]``, top row and left column of the crop in the padded image, and
    whether it is mirrored. affine: float32 ``[n, 6]``, see :func:`_affine_parameters`. none:
    ``[n, 0]``.
    """
    if augment.kind == "crop_flip":
        corner = torch.randint(0, 2 * augment.pad_px + 1, (n, 2), generator=generator)
        mirrored = torch.randint(0, 2, (n, 1), generator=generator) * augment.flip
        return torch.cat([corner, mirrored], dim=1)
    if augment.kind == "affine":
        return _affine_parameters(augment, n, side_px, generator)
    return torch.empty(n, 0)


def _affine_parameters(
    augment: Augment, n: int, side_px: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Return ``(a, b, row, c, d, col)``: where the pixel at v is read from, both from the centre.

    ``source = R (Z v + t)``, Keras' order of rotation, shift and zoom, with v mirrored first for a
    mirrored output. In px, rows first. Deviation: the Keras of 2019 turned about a point one pixel
    down and right of the centre (fixed in keras-preprocessing PR 314); this is the true centre.
    """
    uniform = torch.rand(n, 5, generator=generator, dtype=torch.float64) * 2 - 1
    mirrored = torch.randint(0, 2, (n,), generator=generator) * augment.flip
    angle = uniform[:, 0] * math.radians(augment.rotation_deg)
    shift = uniform[:, 1:3] * augment.shift * torch.tensor(side_px)
    zoom = 1 + uniform[:, 3:5] * augment.zoom
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([cos, -sin, sin, cos], dim=1).view(n, 2, 2)
    zoom[:, 1] *= 1 - 2 * mirrored
    linear = rotation * zoom[:, None, :]
    offset = rotation @ shift[:, :, None]
    return torch.cat([linear, offset], dim=2).view(n, 6).float()
