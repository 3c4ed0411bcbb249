"""Training batches from one packed tensor, and test batches.

A pixel is one int32 (R, G, B, 0), so that a batch is one ``index_select``. Everything random is
drawn for a whole epoch on the CPU; a step only gathers, which is the same on every device and can
be captured in a CUDA graph.

Shape suffixes: B batch, H and W height and width, C colour, K parameters of one image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resbench.data.images import Int64Array, UInt8Array
from resbench.errors import UsageError
from resbench.suite.spec import Augment, Normalise


class Statistics(NamedTuple):
    """``x = (image - mean) * scale`` with images and mean in 0..255.

    Both are float32 ``[H, W, 3]``, even with one value per colour: broadcasting over the last axis
    alone is ten times slower on a CPU.
    """

    mean: Tensor
    scale: Tensor


def fit_statistics(
    images: UInt8Array, normalise: Normalise, device: torch.device | str = "cpu"
) -> Statistics:
    """Return what ``normalise`` subtracts and divides by, fitted on ``[N, H, W, 3]`` images.

    mean_image: the mean image, no division by a deviation (Wang et al. 2017, section 4.1).
    Inferred: pixels are in 0..1; the paper does not say, and the batch normalisation after the
    first convolution cancels the unit. channel_mean_std: one mean and deviation a colour; the
    ``_per_split`` form fits each evaluated set on itself. none: 0..1 as it is.
    """
    count = len(images)
    mean, deviation = np.zeros(3), np.ones(3)
    if normalise == "mean_image":
        mean = images.sum(axis=0, dtype=np.int64) / count
    elif normalise != "none":
        square = np.zeros(images.shape[1:], np.int64)
        for part in np.array_split(images, count // 1000 + 1):  # bounds the memory
            square += np.square(part, dtype=np.uint16).sum(axis=0, dtype=np.int64)
        mean = (images.sum(axis=0, dtype=np.int64) / count).mean(axis=(0, 1))
        deviation = np.sqrt((square / count).mean(axis=(0, 1)) - mean**2) / 255
        if not (deviation > 0).all():
            raise UsageError(f"normalise: {normalise}: a colour is constant, its deviation is 0.")
    wide = (np.broadcast_to(x, images.shape[1:]) for x in (mean, 1 / (255 * deviation)))
    return Statistics(*(torch.tensor(x, dtype=torch.float32, device=device) for x in wide))


def draw(augment: Augment, n: int, side_px: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw the random transformations of ``n`` images of (H, W) px: a CPU tensor ``[n, K]``.

    crop_flip (Wang et al. 2017, section 4.1): int64 ``[n, 3]``, top row and left column of a crop
    in the image with zeros on each side, and whether it is mirrored. affine (the 2019 report):
    float32 ``[n, 6]``, see :func:`_affine_parameters`. none: ``[n, 0]``.
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

    What Keras' ImageDataGenerator does with rotation_range, width_shift_range = height_shift_range,
    zoom_range and horizontal_flip: ``source = R (Z v + t)``, with v mirrored first for a mirrored
    output. In px, rows first. Deviation: the Keras of 2019 turned about a point one pixel down and
    right of the centre (fixed in keras-preprocessing PR 314); this is the true centre.
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


@dataclass(frozen=True, eq=False)
class EpochDraws:
    """Everything random in an epoch, in the order of its batches, on the pipeline's device."""

    index: Tensor
    """int64 ``[steps * B]``."""
    params: Tensor
    """``[steps * B, K]``, see :func:`draw`."""


class Pipeline:
    """The training images on a device, and how a batch is made of them.

    ``labels`` (int64 ``[N]``, on the device) may be overwritten between epochs.
    """

    def __init__(
        self,
        train_images: UInt8Array,
        train_labels: Int64Array,
        *,
        augment: Augment,
        normalise: Normalise,
        device: torch.device | str = "cpu",
        like: Pipeline | None = None,
    ) -> None:
        """Pack ``[N, H, W, 3]`` images onto ``device``, or share those of ``like``.

        ``like`` has the same images, augmentation, normalisation and device.
        """
        self.augment = augment
        self.normalise = normalise
        self.device = torch.device(device)
        self.labels = torch.tensor(train_labels, device=self.device)
        self._count, self._height, self._width = train_images.shape[:3]
        self._pad = pad = augment.pad_px if augment.kind == "crop_flip" else 0
        if like is None:
            self.statistics = fit_statistics(train_images, normalise, self.device)
            self._packed = _pack(train_images, pad, self.device)
        else:
            self.statistics, self._packed = like.statistics, like._packed
        # The mean image with zeros on every side, as rows: [(H + 2 p) (W + 2 p), 3].
        self._padded_mean = F.pad(self.statistics.mean, (0, 0, pad, pad, pad, pad)).flatten(0, 1)
        self._rows = torch.arange(self._height, device=self.device)
        self._columns = torch.arange(self._width, device=self.device)

    def draw_epoch(
        self,
        n_steps: int,
        batch_size: int,
        order_generator: torch.Generator,
        augment_generator: torch.Generator,
    ) -> EpochDraws:
        """Draw an epoch on the CPU: a permutation, cut to ``n_steps`` batches, and parameters."""
        n = n_steps * batch_size
        index = torch.randperm(self._count, generator=order_generator)[:n]
        params = draw(self.augment, n, (self._height, self._width), augment_generator)
        return EpochDraws(index.to(self.device), params.to(self.device))

    def gather(self, index_B: Tensor, params_BK: Tensor) -> Tensor:
        """Return the augmented, normalised batch: float32 ``[B, 3, H, W]`` in channels_last.

        The labels of the batch are ``labels[index_B]``.
        """
        if self.augment.kind == "crop_flip":
            return self._crop(index_B, params_BK)
        packed = self._packed.view(-1, self._height, self._width).index_select(0, index_B)
        x_BHWC = self._pixels(packed)
        if self.augment.kind == "affine":
            x_BHWC = self._warp(x_BHWC, params_BK)
        return _normalised(x_BHWC, self.statistics)

    def statistics_for(self, images: UInt8Array) -> Statistics:
        """Return the statistics for evaluating ``images``: their own, or the training set's."""
        if self.normalise == "channel_mean_std_per_split":
            return fit_statistics(images, self.normalise, self.device)
        return self.statistics

    def normalise_eval(
        self, images: UInt8Array | Tensor, statistics: Statistics | None = None
    ) -> Tensor:
        """Return plain uint8 ``[B, H, W, 3]`` images as a batch like :meth:`gather`'s."""
        x_BHWC = torch.as_tensor(images, device=self.device).float()
        return _normalised(x_BHWC, statistics or self.statistics)

    def eval_batches(self, images: UInt8Array, batch_size: int) -> Iterator[Tensor]:
        """Yield all ``images`` in order as batches; the last one may be smaller."""
        statistics = self.statistics_for(images)
        for start in range(0, len(images), batch_size):
            yield self.normalise_eval(images[start : start + batch_size], statistics)

    def _pixels(self, packed: Tensor) -> Tensor:
        """Return packed pixels as float32 ``[B, H, W, 3]`` in 0..255."""
        x_BHWC = packed.view(torch.uint8).view(-1, self._height, self._width, 4)
        return x_BHWC[..., :3].float()

    def _crop(self, index_B: Tensor, params_B3: Tensor) -> Tensor:
        """Crop and mirror what is already normalised.

        As in Caffe, the framework of Wang et al., the mean is subtracted at the position of a pixel
        before the crop, so the padding is exactly zero.
        """
        top_B1, left_B1, mirrored_B1 = params_B3.split(1, dim=1)
        rows_BH1 = (top_B1 + self._rows)[:, :, None]
        mirror_W = self._columns.flip(0)
        columns_B1W = (left_B1 + torch.where(mirrored_B1 == 1, mirror_W, self._columns))[:, None]
        image_rows = index_B[:, None, None] * (self._height + self._pad)
        positions = (image_rows + rows_BH1) * (self._width + self._pad) + columns_B1W
        x_BHWC = self._pixels(self._packed.index_select(0, positions.flatten()))
        positions = rows_BH1 * (self._width + 2 * self._pad) + columns_B1W
        mean_BHWC = self._padded_mean.index_select(0, positions.flatten()).view(x_BHWC.shape)
        return _normalised(x_BHWC, Statistics(mean_BHWC, self.statistics.scale))

    def _warp(self, x_BHWC: Tensor, params_B6: Tensor) -> Tensor:
        """Resample linearly at the affine positions, the nearest pixel beyond the border."""
        half_h, half_w = (self._height - 1) / 2, (self._width - 1) / 2
        rows_H1 = (self._rows - half_h)[:, None]
        columns_W = self._columns - half_w
        # Written out rather than affine_grid: its matrix product loses digits to TF32 and autocast.
        a, b, row, c, d, column = params_B6[:, :, None, None].unbind(1)
        y_BHW = (a * rows_H1 + b * columns_W + row) / half_h
        x_BHW = (c * rows_H1 + d * columns_W + column) / half_w
        grid_BHW2 = torch.stack([x_BHW, y_BHW], dim=-1)
        warped_BCHW = F.grid_sample(
            x_BHWC.permute(0, 3, 1, 2), grid_BHW2, padding_mode="border", align_corners=True
        )
        return warped_BCHW.permute(0, 2, 3, 1).contiguous()


def _pack(images: UInt8Array, pad: int, device: torch.device) -> Tensor:
    """Return ``[N, H, W, 3]`` images as flat int32 pixels, padded with zeros.

    Each row has zeros only on its left and each image only on top: right of a row and below an
    image come the zeros of the next one, and after the last a tail of zeros.
    """
    count, height, width = images.shape[:3]
    rows, columns = height + pad, width + pad
    tail = pad * (columns + 1)
    packed = torch.zeros(count * rows * columns + tail, dtype=torch.int32, device=device)
    pixels = packed[: count * rows * columns].view(torch.uint8).view(count, rows, columns, 4)
    pixels[:, pad:, pad:, :3] = torch.tensor(images, device=device)
    return packed


def _normalised(x_BHWC: Tensor, statistics: Statistics) -> Tensor:
    """Normalise float pixels in place; ``[B, H, W, 3]`` in memory is channels_last."""
    return x_BHWC.sub_(statistics.mean).mul_(statistics.scale).permute(0, 3, 1, 2)
