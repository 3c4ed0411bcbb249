"""Optimizers with their whole state in place before the first step.

torch creates momentum and moment buffers lazily; a CUDA graph and a checkpoint both need them from
the start. Zeros give the same first step: 0.9 * 0 + g = g.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from resbench.suite.spec import Optim

ADAM: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-7}
"""Keras 2's defaults, which the 2019 report's code leaves as they are. (Keras adds epsilon before
the bias is corrected, torch after.)"""


class Optimizer:
    """SGD or Adam by torch's fused kernels.

    ``torch.optim``'s classes take the same steps, bit for bit, but import the compiler when they
    are first used: 1.7 s of processor time in every worker, as much as torch itself.
    """

    def __init__(self, param_groups: list[dict[str, Any]], optim: Optim) -> None:
        """Take groups with ``params``, ``weight_decay`` and ``lr``, as torch's optimizers do."""
        self.param_groups, self.optim = param_groups, optim
        self.state = {p: _zero_state(p, optim) for group in param_groups for p in group["params"]}
        self.found_inf: Tensor | None = None
        """Where it holds 1 a step changes nothing."""

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.state:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            params = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not params:
                continue
            grads = [parameter.grad for parameter in params]
            common = {
                "lr": group["lr"], "weight_decay": group["weight_decay"], "maximize": False,
                "fused": True, "found_inf": self.found_inf,
            }  # fmt: skip
            if self.optim.name == "sgd":
                momentum, nesterov = self.optim.momentum, self.optim.nesterov
                sgd(params, grads, self._states(params, "momentum_buffer"), momentum=momentum,
                    nesterov=nesterov, dampening=0.0, **common)  # fmt: skip
            else:
                mean, square = self._states(params, "exp_avg"), self._states(params, "exp_avg_sq")
                adam(params, grads, mean, square, [], self._states(params, "step"),
                     amsgrad=False, **ADAM, **common)  # fmt: skip

    def _states(self, params: list[nn.Parameter], name: str) -> list[Any]:
        return [self.state[parameter].get(name) for parameter in params]


def build_optimizer(
    model: nn.Module, optim: Optim, device: torch.device, *, tensor_lr: bool = False
) -> Optimizer:
    """Return SGD or Adam over the groups that decay and that do not.

    Weight decay is coupled L2: ``g + weight_decay * w``. With the learning rate as a tensor a drop
    needs no new capture.
    """
    lr = torch.tensor(optim.lr, device=device) if tensor_lr else optim.lr
    groups = [
        {"params": params, "weight_decay": decay, "lr": lr}
        for params, decay in _groups(model, optim)
        if params
    ]
    return Optimizer(groups, optim)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of every group, in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def _groups(model: nn.Module, optim: Optim) -> list[tuple[list[nn.Parameter], float]]:
    trained = [p for p in model.parameters() if p.requires_grad]
    if optim.decay == "all":
        return [(trained, optim.weight_decay)]
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    last = [layer for layer in layers if isinstance(layer, nn.Linear)][-1:]
    kernels = {id(layer.weight) for layer in (last if optim.decay == "fc" else layers)}
    decayed = [p for p in trained if id(p) in kernels]
    others = [p for p in trained if id(p) not in kernels]
    return [(decayed, optim.weight_decay), (others, 0.0)]


def _zero_state(parameter: nn.Parameter, optim: Optim) -> dict[str, Tensor]:
    def zeros() -> Tensor:
        return torch.zeros_like(parameter, memory_format=torch.preserve_format)

    if optim.name == "sgd":
        return {"momentum_buffer": zeros()} if optim.momentum else {}
    step = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {"step": step, "exp_avg": zeros(), "exp_avg_sq": zeros()}
