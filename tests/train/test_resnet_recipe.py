"""ResNet-164 trained by ours and, step by step, by a plain implementation of the same recipe.

The plain one shares no code with the package but the draws of an epoch: its own augmentation on
padded images, its own network of 164 layers in float64, its own Nesterov update, its own schedule.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resbench.suite.spec import RunSpec
from resbench.train.images import Prepared
from resbench.train.lane import Lane

from ..mini import spec_of
from .live import lane_of

STEPS, BATCH, PX = 20, 8, 8
LR = [0.01] * 5 + [0.1] * 10 + [0.01] * 5
"""Warm-up, the full rate, one drop."""


def recipe() -> RunSpec:
    """He et al. 2016 in small: the same 164 layers, a quarter as wide."""
    return spec_of(
        model={"family": "he2016", "name": "resnet-164", "width": 0.25},
        data__image_px=PX,
        data__train_images=64,
        training__batch_size=BATCH,
        training__augment__pad_px=2,
        training__optim__lr=0.1,
        training__schedule={
            "unit": "step",
            "total": STEPS,
            "drops": [{"at": 15, "factor": 0.1}],
            "warmup": {"until": 5, "lr": 0.01},
        },
    )


class PlainResNet164:
    """Pre-activation bottlenecks, 18 in each of three stages, on a dictionary of tensors."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = {name: tensor.double().clone() for name, tensor in state.items()}
        self.weights = {n: t for n, t in self.state.items() if "running" not in n}
        for weight in self.weights.values():
            weight.requires_grad_()

    def norm_relu(self, x: Tensor, name: str, training: bool) -> Tensor:
        mean, var = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        if training:
            count = x.numel() / x.shape[1]
            with torch.no_grad():
                mean.lerp_(x.mean((0, 2, 3)), 0.1)
                var.lerp_(x.var((0, 2, 3), correction=0) * count / (count - 1), 0.1)
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        x = x * self.state[f"{name}.weight"][:, None, None]
        return torch.clamp(x + self.state[f"{name}.bias"][:, None, None], min=0)

    def logits(self, x: Tensor, *, training: bool) -> Tensor:
        w = self.state
        x = F.conv2d(x, w["stem.weight"], padding=1)
        for stage in (1, 2, 3):
            for unit in range(18):
                at, stride = f"stage{stage}.{unit}", 2 if stage > 1 and unit == 0 else 1
                a = self.norm_relu(x, f"{at}.norm1", training)
                y = F.conv2d(a, w[f"{at}.conv1.weight"])
                y = self.norm_relu(y, f"{at}.norm2", training)
                y = F.conv2d(y, w[f"{at}.conv2.weight"], padding=1, stride=stride)
                y = self.norm_relu(y, f"{at}.norm3", training)
                y = F.conv2d(y, w[f"{at}.conv3.weight"])
                if unit == 0:
                    x = F.conv2d(a, w[f"{at}.shortcut.weight"], stride=stride)
                x = x + y
        x = self.norm_relu(x, "norm", training).mean((2, 3))
        return x @ w["fc.weight"].T + w["fc.bias"]


class PlainTraining:
    """The recipe, image by image and tensor by tensor; ``mistake`` leaves one part of it out."""

    def __init__(self, lane: Lane, mistake: str = "") -> None:
        self.images: Prepared = lane.images
        self.mistake = mistake
        self.net = PlainResNet164(lane.model.state_dict())
        self.velocity = {n: torch.zeros_like(w) for n, w in self.net.weights.items()}
        self.mean = self.images.train_images.astype(np.float64).mean(axis=0)

    def pixels(self, image: np.ndarray, top: int, left: int, mirrored: int) -> np.ndarray:
        padded = np.zeros((PX + 4, PX + 4, 3))
        padded[2:-2, 2:-2] = image
        crop = padded[top : top + PX, left : left + PX]
        if mirrored and self.mistake != "flip":
            crop = crop[:, ::-1]
        return ((crop - (0 if self.mistake == "mean" else self.mean)) / 255).transpose(2, 0, 1)

    def step(self, lr: float, index: Tensor, params: Tensor) -> float:
        chosen = index.tolist()
        batch = [
            self.pixels(self.images.train_images[i], *place)
            for i, place in zip(chosen, params.tolist(), strict=True)
        ]
        labels = torch.tensor(self.images.train_labels[chosen])
        logits = self.net.logits(torch.tensor(np.stack(batch)), training=True)
        loss = (torch.logsumexp(logits, 1) - logits[range(len(labels)), labels]).mean()
        gradients = torch.autograd.grad(loss, list(self.net.weights.values()))
        with torch.no_grad():
            for (name, weight), gradient in zip(self.net.weights.items(), gradients, strict=True):
                g = gradient + (0 if self.mistake == "decay" else 1e-4) * weight
                self.velocity[name] = 0.9 * self.velocity[name] + g
                ahead = g + 0.9 * self.velocity[name]
                weight.sub_(lr * (self.velocity[name] if self.mistake == "nesterov" else ahead))
        return loss.item()


def losses(steps: int, mistake: str = "") -> tuple[list[float], list[float], Lane, PlainTraining]:
    """Train both for some steps on the same draws."""
    lane = lane_of(recipe())
    plain = PlainTraining(lane, mistake)
    ours, theirs = [], []
    for epoch in range(1, lane.steps.epochs + 1):
        lane.begin_epoch(epoch)
        for position, step in enumerate(lane.steps.in_epoch(epoch)):
            if step == steps:
                break
            chosen = slice(position * BATCH, (position + 1) * BATCH)
            batch = lane.draws.index[chosen], lane.draws.params[chosen]
            lane.use_lr(step)
            ours.append(float(lane.train_step(*batch)))
            theirs.append(plain.step(LR[step], *batch))
    return ours, theirs, lane, plain


def test_20_steps_have_the_losses_of_a_plain_implementation() -> None:
    ours, theirs, lane, plain = losses(STEPS)
    print([abs(a - b) / b for a, b in zip(ours, theirs)])
    assert ours == pytest.approx(theirs, rel=1e-4)
    images = lane.images
    evaluation = lane.evaluate(images.test_images, images.test_labels)
    x = (images.test_images.astype(np.float64) - plain.mean).transpose(0, 3, 1, 2) / 255
    with torch.no_grad():
        logits = plain.net.logits(torch.tensor(x), training=False)
    loss = F.cross_entropy(logits, torch.tensor(images.test_labels))
    assert evaluation.loss == pytest.approx(float(loss), rel=1e-3)


@pytest.mark.parametrize("mistake", ["flip", "mean", "nesterov"])
def test_a_recipe_with_a_mistake_has_other_losses(mistake: str) -> None:
    """The control: the comparison sees what it is meant to see."""
    ours, theirs, *_ = losses(8, mistake)
    print([abs(a - b) / b for a, b in zip(ours, theirs)])
    assert ours != pytest.approx(theirs, rel=1e-3)
