"""The loop that people use, written fresh after public re-implementations of the paper.

Their habits, not their code: fp32 in NCHW, a ``DataLoader`` that crops and flips one PIL image at a
time, ``loss.item()`` at every step, test batches of 20, gradients recorded while testing. With
``flags`` it is the same loop with the switches that a reader of torch's tuning guide turns on.

Shape suffixes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from resbench.machine import cores
from resbench.models import attention, build
from resbench.suite.spec import Augment, RunSpec
from resbench.train.prepare import Prepared

EVAL_BATCH = 20
interpolate = partial(F.interpolate, mode="bilinear", align_corners=True)


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images that are padded, cropped, mirrored and normalised one by one, as torchvision does."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, augment: Augment | None) -> None:
        """Take uint8 [N, H, W, 3] images; None for ``augment`` leaves them as they are."""
        self.images, self.labels, self.augment = images, labels, augment
        self.mean = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
        self.std = torch.tensor([0.2023, 0.1994, 0.2010]).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        if self.augment is not None and self.augment.kind == "crop_flip":
            pad, (width, height) = self.augment.pad_px, image.size
            left, top = random.randint(0, 2 * pad), random.randint(0, 2 * pad)
            image = ImageOps.expand(image, border=pad, fill=0)
            image = image.crop((left, top, left + width, top + height))
            if self.augment.flip and random.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x_CHW = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return x_CHW.sub_(self.mean).div_(self.std), int(self.labels[index])


class Peer:
    """A network and its loop: one epoch of training, or one pass over the test images."""

    def __init__(
        self,
        spec: RunSpec,
        images: Prepared,
        device: torch.device,
        *,
        flags: bool = False,
        own_upsampling: bool = False,
    ) -> None:
        """Build the network of ``spec`` with its batch size and optimizer settings.

        ``own_upsampling`` keeps our matrix product where people call ``F.interpolate``.
        """
        self.device, self.flags, self.own_upsampling = device, flags, own_upsampling
        self.layout = torch.channels_last if flags else torch.contiguous_format
        model = build(**msgspec.to_builtins(spec.model), num_classes=images.num_classes)
        self.model: nn.Module = model.to(device, memory_format=self.layout)  # type: ignore[call-overload]
        optim = spec.training.optim
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=optim.lr,
            momentum=optim.momentum,
            nesterov=optim.nesterov,
            weight_decay=optim.weight_decay,
        )
        on_gpu = device.type == "cuda"
        # On a CPU the loop has one thread, as ours: a worker would be a second one.
        workers = min(8, cores()) if on_gpu else 0
        loader = partial(
            DataLoader,
            num_workers=workers,
            pin_memory=flags and on_gpu,
            persistent_workers=flags and workers > 0,
        )
        train = PilImages(images.train_images, images.train_labels, spec.training.augment)
        self.train_loader = loader(train, spec.training.batch_size, shuffle=True, drop_last=True)
        test = PilImages(images.test_images, images.test_labels, None)
        self.test_loader = loader(test, EVAL_BATCH)

    def train_epoch(self) -> float:
        """Train on every batch; return the mean loss."""
        self.model.train()
        total = 0.0
        for x_BCHW, label_B in self.train_loader:
            x_BCHW, label_B = self._moved(x_BCHW, label_B)
            self.optimizer.zero_grad()
            with self._autocast():
                loss = F.cross_entropy(self.model(x_BCHW), label_B)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / len(self.train_loader)

    def test(self) -> float:
        """Return the top-1 error in percent."""
        self.model.eval()
        wrong = images = 0
        with torch.set_grad_enabled(not self.flags), self._autocast():
            for x_BCHW, label_B in self.test_loader:
                x_BCHW, label_B = self._moved(x_BCHW, label_B)
                predicted_B = self.model(x_BCHW).argmax(1)
                wrong += (predicted_B != label_B).sum().item()
                images += len(label_B)
        return 100.0 * wrong / images

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Put torch's own defaults in force, and this loop's way of up-sampling."""
        deterministic, own = torch.get_deterministic_debug_mode(), attention.upsample_bilinear
        torch.set_deterministic_debug_mode("default")
        if not self.own_upsampling:
            attention.upsample_bilinear = interpolate
        try:
            with torch.backends.cudnn.flags(enabled=True, benchmark=self.flags, allow_tf32=True):
                yield
        finally:
            attention.upsample_bilinear = own
            torch.set_deterministic_debug_mode(deterministic)

    def _moved(self, x_BCHW: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
        x_BCHW = x_BCHW.to(self.device, non_blocking=self.flags, memory_format=self.layout)
        return x_BCHW, label_B.to(self.device, non_blocking=self.flags)

    def _autocast(self) -> torch.autocast:
        bf16 = self.flags and self.device.type == "cuda"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16)
