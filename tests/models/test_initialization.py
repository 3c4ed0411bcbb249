"""Initialisation: right distributions, and the same numbers wherever the model lies."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from resbench.data.digits import read_digits
from resbench.models import build
from resbench.models.layers import initialize


def small(family: str = "wang2017") -> nn.Sequential:
    return build(family, "attention-56", width=0.25)


def seeded(model: nn.Module, scheme: str = "he", seed: int = 0) -> dict[str, torch.Tensor]:
    initialize(model, scheme, torch.Generator().manual_seed(seed))
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("scheme", ["he", "glorot"])
def test_the_seed_alone_decides_the_weights(scheme: str) -> None:
    first = seeded(small(), scheme)
    used = small()
    used(torch.randn(2, 3, 16, 16)).sum().backward()
    used.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = torch.random.get_rng_state()
    second, other = seeded(used, scheme), seeded(small(), scheme, seed=1)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert not torch.equal(first["stem.weight"], other["stem.weight"])
    torch.random.set_rng_state(state)
    seeded(used, scheme)
    assert torch.equal(torch.random.get_rng_state(), state), "the global state does not move"


def test_he_draws_a_normal_of_variance_2_over_fan_in_for_all_layers() -> None:
    state = seeded(build("he2016", "resnet-164"))
    for name, fan_in in (
        ("stage3.9.conv2.weight", 9 * 64),
        ("stage3.9.conv3.weight", 64),
        ("stage3.0.shortcut.weight", 128),
        ("fc.weight", 256),
    ):
        sigma = math.sqrt(2 / fan_in)
        assert state[name].std() == pytest.approx(sigma, rel=0.05), name
        assert state[name].abs().max() > 2.5 * sigma, name  # a uniform ends at 1.73


def test_glorot_draws_a_uniform_bounded_by_both_fans() -> None:
    state = seeded(small("report2019"), "glorot")
    for name in ("stage2_attention.0.trunk.0.residual.3.weight", "fc.weight"):
        weight = state[name]
        field = weight[0, 0].numel()
        bound = math.sqrt(6 / (field * (weight.shape[0] + weight.shape[1])))
        assert 0.98 * bound < weight.abs().max() <= bound, name
        assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.05), name


def test_biases_and_batch_normalisation_start_neutral_again_after_training() -> None:
    model = small("report2019")
    model(torch.randn(2, 3, 16, 16))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    state = seeded(model, "glorot")
    norms = [name for name, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)]
    ones = {f"{name}.{key}" for name in norms for key in ("weight", "running_var")}
    zeros = {name for name in state if name.endswith(("bias", "running_mean"))}
    assert len(zeros) > len(norms) > 0
    assert all((state[name] == 1).all() for name in ones)
    assert all((state[name] == 0).all() for name in zeros)


@pytest.mark.parametrize("head_norm", [False, True])
def test_the_report_s_network_survives_the_paper_s_learning_rate_only_with_a_norm_in_its_head(
    head_norm: bool,
) -> None:
    digits = read_digits()
    images = torch.tensor(digits.train_images).permute(0, 3, 1, 2) / 255
    batches = DataLoader(
        TensorDataset(images - images.mean(0), torch.tensor(digits.train_labels)), batch_size=128
    )
    model = build(
        "report2019", "attention-56", width=0.25, bn_eps=1e-3, bn_momentum=0.01, head_norm=head_norm
    )
    initialize(model, "glorot", torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    losses = []
    for x, labels in batches:
        loss = nn.functional.cross_entropy(model.train()(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(map(math.isfinite, losses)) == head_norm
    if head_norm:
        assert losses[-1] < losses[0] / 2
