"""One run's live state on a device: network, optimizer, images, counters.

Shape suffixes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from resbench.data.pipeline import Pipeline
from resbench.models import build
from resbench.models.layers import initialize
from resbench.suite.schedule import resolve
from resbench.suite.spec import RunSpec, derive_seed
from resbench.train.environment import without_fallbacks
from resbench.train.optim import Optimizer
from resbench.train.prepare import Prepared

EVAL_BATCH = {"cpu": 250, "cuda": 1000}


class Diverged(Exception):
    """A loss was not finite; the text says at which step, counted from 1."""


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy (nats), top-1 error (percent), and what was predicted, image by image."""

    loss: float
    top1_err: float
    pred: np.ndarray
    prob_true: np.ndarray


class EpochTotals(NamedTuple):
    """Means over the steps of an epoch: loss in nats, errors in percent.

    The errors over clean and corrupted labels are None without label noise.
    """

    train_loss: float
    train_top1_err: float
    train_err_clean: float | None = None
    train_err_corrupted: float | None = None


class Lane:
    """The state that one training step changes, and the step itself.

    The random numbers of an epoch are drawn outside of the step, on the host, from seeds that
    depend on the run's seed and the epoch only.
    """

    def __init__(
        self, spec: RunSpec, images: Prepared, device: torch.device, like: Lane | None = None
    ) -> None:
        """Share the images on the device with ``like`` if they are the same."""
        self.spec, self.device, self.images = spec, device, images
        self.steps = resolve(spec, len(images.train_images))
        self.epoch_steps = range(0)
        """The steps of the epoch under way, counted from 0 at the run's start."""
        training = spec.training
        self.model = self.new_model()
        bf16 = spec.precision == "bf16"
        self.forward: Callable[[Tensor], Tensor] = Bf16Forward(self.model) if bf16 else self.model
        self.eval_forward: Callable[[Tensor], Tensor] = self.eval_logits
        """How a test batch goes through the network; the graph engine puts a captured pass here."""
        self.on_test_batch: Callable[[], None] = lambda: None
        """Called before each batch of an evaluation, which can take a CPU many minutes."""
        self.waits_for_host = device.type == "cpu" and spec.engine == "eager"
        """Whether a step may look at its loss; on a GPU or in a graph only the epoch's end does."""
        self.optimizer = Optimizer(self.model, training.optim, tensor_lr=not self.waits_for_host)
        same = (
            like is not None
            and like.spec.training == training
            and np.array_equal(like.images.train_images, images.train_images)
        )
        self.pipeline: Pipeline = Pipeline(
            images.train_images,
            images.train_labels,
            augment=training.augment,
            normalise=training.normalise,
            device=device,
            like=like.pipeline if like and same else None,
        )
        self.noisy = spec.data.clean_ratio < 1
        self.clean_labels = torch.tensor(images.clean_labels, device=device)
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.wrong = torch.zeros((), dtype=torch.int64, device=device)
        self.wrong_corrupted = torch.zeros((), dtype=torch.int64, device=device)
        # Where no step waits for the host, a loss that is not finite is noted on the device and the
        # fused optimizer skips its step.
        self.not_finite = torch.zeros((), dtype=torch.float32, device=device)
        self.finite_steps = torch.zeros((), dtype=torch.int64, device=device)
        if not self.waits_for_host:
            self.optimizer.found_inf = self.not_finite

    def new_model(self) -> nn.Module:
        """Return the run's network with its initial weights."""
        training, seed = self.spec.training, derive_seed(self.spec.seed, "init")
        with torch.random.fork_rng(devices=[]):  # a user's build may draw weights of other layers
            seed_generators(seed)
            model = build(
                **msgspec.to_builtins(self.spec.model),
                num_classes=self.images.num_classes,
                bn_eps=training.bn_eps,
                bn_momentum=training.bn_momentum,
            )
        initialize(model, training.init, torch.Generator().manual_seed(seed))
        if hasattr(self.spec.model, "code"):
            self._check_logits(model)
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _check_logits(self, model: nn.Module) -> None:
        """Refuse a user's network whose logits are not one for each class."""
        px, due = self.images.test_images.shape[1], (2, self.images.num_classes)
        with torch.no_grad():  # on a copy: it may keep what it computes
            found = tuple(copy.deepcopy(model).eval()(torch.zeros(2, 3, px, px)).shape)
        if found != due:
            raise ValueError(f"networks.py: for 2 images it returns {found}, not logits of {due}")

    def autocast(self) -> AbstractContextManager[None]:
        """Return the run's precision: bf16 autocast over fp32 weights, or nothing."""
        enabled = self.spec.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def begin_epoch(self, epoch: int) -> None:
        """Draw order, augmentation and labels of a 1-based epoch, and clear the counters."""
        seed = self.spec.seed
        if self.spec.data.noise == "redrawn":
            noisy = self.images.noisy_labels(derive_seed(seed, "noise", epoch))
            self.pipeline.labels.copy_(torch.from_numpy(noisy))
        self.epoch_steps = self.steps.in_epoch(epoch)
        self.draws = self.pipeline.draw_epoch(
            len(self.epoch_steps),
            self.spec.training.batch_size,
            torch.Generator().manual_seed(derive_seed(seed, "order", epoch)),
            torch.Generator().manual_seed(derive_seed(seed, "augment", epoch)),
        )
        seed_generators(derive_seed(seed, "dropout", epoch))
        for counter in (
            self.loss_sum, self.wrong, self.wrong_corrupted, self.not_finite, self.finite_steps
        ):  # fmt: skip
            counter.zero_()
        self.model.train()

    def use_lr(self, step: int) -> None:
        """Put the schedule's learning rate in force."""
        self.optimizer.set_lr(self.steps.lr(step))

    def batch(self, position: int) -> tuple[Tensor, Tensor]:
        """Return what was drawn for the epoch's step at a 0-based position: see `train_step`."""
        size = self.spec.training.batch_size
        chosen = slice(position * size, (position + 1) * size)
        return self.draws.index[chosen], self.draws.params[chosen]

    def train_step(self, index_B: Tensor, params_BP: Tensor) -> Tensor:
        """Do one optimizer step on the images ``index_B``; return the loss (a scalar tensor)."""
        x_BCHW = self.pipeline.gather(index_B, params_BP)
        label_B = self.pipeline.labels.index_select(0, index_B)
        self.optimizer.zero_grad()
        with self.autocast():
            logits_BK = self.forward(x_BCHW)
        loss = F.cross_entropy(logits_BK.float(), label_B)
        loss.backward()
        if not self.waits_for_host:
            # Once 1, it stays 1, so nothing is updated after a loss that is not finite.
            self.not_finite.copy_(torch.maximum(self.not_finite, (~loss.isfinite()).float()))
            self.finite_steps.add_((self.not_finite == 0).long())
        elif not loss.isfinite():
            return loss.detach()
        self.optimizer.step()
        self.loss_sum.add_(loss.detach())
        wrong_B = logits_BK.detach().argmax(1) != label_B
        self.wrong.add_(wrong_B.sum())
        if self.noisy:
            corrupted_B = label_B != self.clean_labels.index_select(0, index_B)
            self.wrong_corrupted.add_((wrong_B & corrupted_B).sum())
        return loss.detach()

    def epoch_totals(self) -> EpochTotals:
        """Return the epoch's mean training loss and errors.

        Raises:
            Diverged: a loss of the epoch was not finite.
        """
        steps = self.epoch_steps
        if self.not_finite.item():
            raise diverged_at(steps.start + int(self.finite_steps.item()))
        images, wrong = len(steps) * self.spec.training.batch_size, self.wrong.item()
        loss, top1_err = self.loss_sum.item() / len(steps), 100.0 * wrong / images
        if not self.noisy:
            return EpochTotals(loss, top1_err)
        seen = self.draws.index
        corrupted = int((self.pipeline.labels[seen] != self.clean_labels[seen]).sum())
        wrong_corrupted = self.wrong_corrupted.item()
        return EpochTotals(
            loss,
            top1_err,
            _percent(wrong - wrong_corrupted, images - corrupted),
            _percent(wrong_corrupted, corrupted),
        )

    @torch.inference_mode()
    def evaluate(self, images_NHWC: np.ndarray, labels: np.ndarray) -> Evaluation:
        """Evaluate uint8 images [N, H, W, 3], in order, without augmentation."""
        self.model.eval()
        logits = []
        with without_fallbacks(self.device):
            for x_BCHW in self.pipeline.eval_batches(images_NHWC, EVAL_BATCH[self.device.type]):
                self.on_test_batch()
                logits.append(self.eval_forward(x_BCHW))
        return score(torch.cat(logits).cpu(), labels)

    def release_graphs(self) -> None:
        """Drop what an engine has captured, and the gradients in its memory."""
        self.eval_forward = self.eval_logits
        self.optimizer.zero_grad()

    def eval_logits(self, x_BCHW: Tensor) -> Tensor:
        """Return logits [B, K] of normalised images, as fp32."""
        with self.autocast():
            logits_BK = self.forward(x_BCHW)
        return logits_BK.float()


def _percent(part: float, whole: int) -> float | None:
    return 100.0 * part / whole if whole else None


def diverged_at(step: int) -> Diverged:
    """Return what to raise where the loss of a 0-based step was not finite."""
    return Diverged(f"the loss was not finite at step {step + 1}")


def score(logits_NK: Tensor, labels: np.ndarray) -> Evaluation:
    """Turn logits [N, K] and true labels [N] into an evaluation, in float64."""
    log_p = F.log_softmax(logits_NK.double(), dim=1)
    true = torch.from_numpy(labels)
    log_p_true = log_p.gather(1, true[:, None]).squeeze(1)
    pred = logits_NK.argmax(1)
    return Evaluation(
        loss=float(-log_p_true.mean()),
        top1_err=100.0 * float((pred != true).double().mean()),
        pred=pred.numpy().astype(np.int16),
        prob_true=log_p_true.exp().numpy().astype(np.float32),
    )


class Bf16Forward:
    """Calls a network with the weights of its convolutions and linear layers in bf16.

    One kernel casts all of them, and one all their gradients; autocast takes a kernel each, a fifth
    of a step's. The bits are the same. To be called under autocast, which finds nothing left to
    cast in them. A subclass of a layer may compute with its weights before it casts them, so it is
    left to autocast.
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


def seed_generators(seed: int) -> None:
    """Seed all that a user's network may draw from: torch, ``random`` and numpy's own generator."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
