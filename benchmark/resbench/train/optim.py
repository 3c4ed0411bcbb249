"""Optimizers with their whole state in place before the first step.

torch creates momentum and moment buffers lazily; a CUDA graph and a checkpoint both need them from
the start. Zeros give the same first step: 0.9 * 0 + g = g.
"""

from __future__ import annotations

import torch
from torch import nn

from resbench.suite.spec import Optim


def build_optimizer(model: nn.Module, optim: Optim, device: torch.device) -> torch.optim.Optimizer:
    """Return SGD or Adam over the groups that decay and that do not.

    Weight decay is coupled L2: ``g + weight_decay * w``. On CUDA the learning rate is a tensor, so
    that a drop needs no new capture.
    """
    groups = [
        {"params": params, "weight_decay": decay}
        for params, decay in _groups(model, optim)
        if params
    ]
    lr = torch.tensor(optim.lr, device=device) if device.type == "cuda" else optim.lr
    optimizer: torch.optim.Optimizer
    if optim.name == "sgd":
        optimizer = torch.optim.SGD(
            groups, lr=lr, momentum=optim.momentum, nesterov=optim.nesterov, fused=True
        )
    else:
        optimizer = torch.optim.Adam(groups, lr=lr, fused=True)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = _zero_state(parameter, optim)
    return optimizer


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group, in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def set_capturable(optimizer: torch.optim.Optimizer, capturable: bool) -> None:
    """Let a step be captured in a CUDA graph; Adam asks for the flag, and warns of it elsewhere.

    A fused step is the same with and without it: its counters are on the device in any case.
    """
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = capturable


def _groups(model: nn.Module, optim: Optim) -> list[tuple[list[nn.Parameter], float]]:
    if optim.decay == "all":
        return [(list(model.parameters()), optim.weight_decay)]
    modules = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if optim.decay == "fc":
        modules = [m for m in modules if isinstance(m, nn.Linear)][-1:]
    kernels = {id(module.weight) for module in modules}
    decayed = [p for p in model.parameters() if id(p) in kernels]
    others = [p for p in model.parameters() if id(p) not in kernels]
    return [(decayed, optim.weight_decay), (others, 0.0)]


def _zero_state(parameter: nn.Parameter, optim: Optim) -> dict[str, torch.Tensor]:
    def zeros() -> torch.Tensor:
        return torch.zeros_like(parameter, memory_format=torch.preserve_format)

    if optim.name == "sgd":
        return {"momentum_buffer": zeros()} if optim.momentum else {}
    step = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {"step": step, "exp_avg": zeros(), "exp_avg_sq": zeros()}
