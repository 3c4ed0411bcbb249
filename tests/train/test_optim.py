"""Fused optimizers with their state in place against the update rules written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resbench.suite.spec import Optim
from resbench.train.optim import Optimizer

from ..mini import spec_of

LR = [0.1] * 8 + [0.01] * 12


def optim_of(**changes: Any) -> Optim:
    fields = {f"training__optim__{name}": value for name, value in changes.items()}
    return spec_of(**fields).training.optim


def small_net() -> nn.Sequential:
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.Linear(8, 5),
    )
    return net.double()


def loss_of(net: nn.Module, step: int) -> Tensor:
    random = torch.Generator().manual_seed(step)
    images = torch.rand(6, 3, 4, 4, generator=random, dtype=torch.float64)
    return nn.functional.cross_entropy(net(images), torch.arange(6) % 5)


def trained(net: nn.Module, optim: Optim) -> list[Tensor]:
    """The weights after 20 steps of ours."""
    optimizer = Optimizer(net, optim)
    for step, lr in enumerate(LR):
        optimizer.set_lr(lr)
        optimizer.zero_grad()
        loss_of(net, step).backward()
        optimizer.step()
    return [parameter.detach() for parameter in net.parameters()]


def by_hand(net: nn.Module, optim: Optim, decayed: set[str]) -> list[Tensor]:
    """The weights after 20 steps of the rules in the papers, one tensor at a time."""
    first = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    second = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for step, lr in enumerate(LR):
        net.zero_grad()
        loss_of(net, step).backward()
        with torch.no_grad():
            for name, weight in net.named_parameters():
                assert weight.grad is not None
                g = weight.grad + (optim.weight_decay * weight if name in decayed else 0)
                if optim.name == "adam":
                    first[name] = 0.9 * first[name] + 0.1 * g
                    second[name] = 0.999 * second[name] + 0.001 * g**2
                    m = first[name] / (1 - 0.9 ** (step + 1))
                    v = second[name] / (1 - 0.999 ** (step + 1))
                    weight.sub_(lr * m / (v.sqrt() + 1e-7))
                else:
                    v = optim.momentum * first[name] + g
                    first[name] = v
                    weight.sub_(lr * (g + optim.momentum * v if optim.nesterov else v))
    return [parameter.detach() for parameter in net.parameters()]


ALL = {"0.weight", "1.weight", "1.bias", "3.weight", "3.bias", "4.weight", "4.bias"}
KERNELS = {"0.weight", "3.weight", "4.weight"}


@pytest.mark.parametrize(
    "rule",
    [
        {"name": "sgd", "nesterov": True},
        {"name": "sgd", "nesterov": False},
        {"name": "sgd", "nesterov": False, "momentum": 0.0},
        {"name": "adam", "nesterov": False, "momentum": 0.0},
    ],
)
@pytest.mark.parametrize(
    ("decay", "decayed"), [("all", ALL), ("conv_fc", KERNELS), ("fc", {"4.weight"})]
)
def test_20_steps_equal_the_rules_written_out(
    rule: dict[str, Any], decay: str, decayed: set[str]
) -> None:
    optim = optim_of(**rule, decay=decay, weight_decay=0.05)
    ours, plain = trained(small_net(), optim), by_hand(small_net(), optim, decayed)
    for weight, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", [{"name": "sgd"}, {"name": "adam", "nesterov": False}])
@pytest.mark.parametrize("decay", ["all", "fc"])
def test_a_weight_without_a_gradient_stays_and_one_that_is_frozen_has_no_state(
    rule: dict[str, Any], decay: str
) -> None:
    optim = optim_of(**rule, decay=decay, weight_decay=0.05)
    used, unused, frozen = small_net(), nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False)
    idle = [*unused.parameters(), *frozen.parameters()]
    before = [parameter.clone() for parameter in idle]
    optimizer = Optimizer(nn.ModuleList([used, unused, frozen]), optim)
    assert not set(frozen.parameters()) & optimizer.state.keys()
    for step in range(3):
        optimizer.zero_grad()
        loss_of(used, step).backward()
        optimizer.step()
    assert all(map(torch.equal, before, idle))
    assert not any(map(torch.equal, used.parameters(), small_net().parameters()))


def test_what_decays_makes_a_difference() -> None:
    optim = optim_of(decay="fc", weight_decay=0.05)
    ours, plain = trained(small_net(), optim), by_hand(small_net(), optim, ALL)
    assert not torch.allclose(ours[0], plain[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", [{"name": "sgd"}, {"name": "adam", "nesterov": False}])
def test_the_whole_state_is_there_before_the_first_step(rule: dict[str, Any]) -> None:
    net = small_net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = Optimizer(net, optim_of(**rule))

    def addresses() -> list[int]:
        return [t.data_ptr() for state in optimizer.state.values() for t in state.values()]

    before = addresses()
    assert len(before) >= len(list(net.parameters()))
    loss_of(net, 0).backward()
    optimizer.step()
    assert addresses() == before, "a graph would write to tensors that nobody reads"
