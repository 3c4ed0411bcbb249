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
    """SGD or Adam by torch's fused kernels; weight decay is coupled L2, ``g + weight_decay * w``.

    ``torch.optim``'s classes take the same steps, bit for bit, but import the compiler when they
    are first used: 1.7 s of processor time in every worker, as much as torch itself.
    """

    def __init__(self, model: nn.Module, optim: Optim, *, tensor_lr: bool = False) -> None:
        """With ``tensor_lr`` the learning rate is on the device: a drop needs no new capture."""
        self.optim, self.lr = optim, optim.lr
        device = next(model.parameters()).device
        self._lr = torch.tensor(optim.lr, device=device) if tensor_lr else None
        self._groups = _groups(model, optim)
        self.state = {p: _zero_state(p, optim) for group, _ in self._groups for p in group}
        self.found_inf: Tensor | None = None
        """Where it holds 1 a step changes nothing."""

    def set_lr(self, lr: float) -> None:
        """Use this learning rate from now on."""
        if self._lr is not None and lr != self.lr:
            self._lr.fill_(lr)
        self.lr = lr

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.state:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group, weight_decay in self._groups:
            params = [parameter for parameter in group if parameter.grad is not None]
            if not params:
                continue
            grads: list[Any] = [parameter.grad for parameter in params]
            common: dict[str, Any] = {
                "lr": self.lr if self._lr is None else self._lr, "weight_decay": weight_decay,
                "maximize": False, "fused": True, "found_inf": self.found_inf,
            }  # fmt: skip
            if self.optim.name == "sgd":
                momentum, nesterov = self.optim.momentum, self.optim.nesterov
                sgd(params, grads, self._states(params, "momentum_buffer"), momentum=momentum,
                    nesterov=nesterov, dampening=0.0, **common)  # fmt: skip
            else:
                mean, square = self._states(params, "exp_avg"), self._states(params, "exp_avg_sq")
                adam(params, grads, mean, square, [], self._states(params, "step"),
                     amsgrad=False, **ADAM, **common)  # fmt: skip

    def _states(self, params: list[Tensor], name: str) -> list[Any]:
        return [self.state[parameter].get(name) for parameter in params]


def _groups(model: nn.Module, optim: Optim) -> list[tuple[list[Tensor], float]]:
    """Return the parameters that decay and those that do not, each with its weight decay."""
    trained: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    if optim.decay == "all":
        return [(trained, optim.weight_decay)]
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    last = [layer for layer in layers if isinstance(layer, nn.Linear)][-1:]
    kernels = {id(layer.weight) for layer in (last if optim.decay == "fc" else layers)}
    decayed = [p for p in trained if id(p) in kernels]
    return [(decayed, optim.weight_decay), ([p for p in trained if id(p) not in kernels], 0.0)]


def _zero_state(parameter: Tensor, optim: Optim) -> dict[str, Tensor]:
    if optim.name == "sgd":
        return {"momentum_buffer": torch.zeros_like(parameter)} if optim.momentum else {}
    step = torch.zeros((), dtype=torch.float32, device=parameter.device)
    moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": step, **moments}
