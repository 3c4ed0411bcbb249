"""Every network of the zoo: exact size, working forward and backward, stable state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resbench.models import FAMILIES, ZOO, ZooEntry, build, family_of
from resbench.models.attention import AttentionModule
from resbench.models.count import count_macs, count_parameters
from resbench.models.layers import ResidualUnit, initialize

REPORT_56 = next(entry for entry in ZOO if entry.family == "report2019")
INCEPTION = replace(REPORT_56, options={"unit": "inception"}, label="inception")


def label(entry: ZooEntry) -> str:
    return f"{entry.family}: {entry.label}"


def whole(entry: ZooEntry, **overrides: Any) -> nn.Sequential:
    return build(entry.family, entry.name, **{**entry.options, **overrides})


def small(entry: ZooEntry, **overrides: Any) -> nn.Sequential:
    width = 0.125 if entry.family == "report2019" else 0.25
    model = whole(entry, **{"width": width, **overrides})
    initialize(model, "he", torch.Generator().manual_seed(7))
    return model


def copied(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def trunk_depth(model: nn.Module) -> int:
    """Count the weighted layers from image to logits, past masks and shortcuts."""
    if isinstance(model, ResidualUnit):
        return 3
    if isinstance(model, nn.Conv2d | nn.Linear):
        return 1
    skipped = model.mask if isinstance(model, AttentionModule) else None
    return sum(trunk_depth(child) for child in model.children() if child is not skipped)


@pytest.mark.parametrize("entry", ZOO, ids=label)
def test_sizes_equal_the_catalogue_to_the_unit(entry: ZooEntry) -> None:
    model = whole(entry)
    assert count_parameters(model) == entry.parameters_10
    assert count_parameters(whole(entry, num_classes=100)) == entry.parameters_100
    assert count_macs(model) / 1e6 == pytest.approx(entry.macs_m, abs=0.1)
    assert trunk_depth(model) == entry.trunk_depth
    if entry.with_bn_statistics_10 is not None:
        statistics = sum(buffer.numel() for buffer in model.buffers())
        assert entry.parameters_10 + statistics == entry.with_bn_statistics_10


DEEP = 164
"""Deeper networks have the same modules more often."""


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, marks=[pytest.mark.slow] if entry.trunk_depth > DEEP else [])
        for entry in [*ZOO, INCEPTION]
    ],
    ids=label,
)
def test_trains_in_both_memory_formats_and_evaluates_repeatably(entry: ZooEntry) -> None:
    no_dropout = {"dropout": 0.0} if entry.family == "report2019" else {}
    model, again = small(entry, **no_dropout), small(entry, **no_dropout)
    images, labels = torch.randn(4, 3, 16, 16), torch.arange(4)

    logits = model(images)
    F.cross_entropy(logits, labels).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if name.endswith("0.mask.tail.3.weight") or name == "fc.weight":
            assert parameter.grad.abs().max() > 0, name

    again.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(again(images.to(memory_format=torch.channels_last)), logits)

    before = copied(model.eval())
    with torch.inference_mode():
        first, second = model(images), model(images)
    assert torch.equal(first, second)
    assert first.shape == (4, 10)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_local_masks_cost_what_the_encoder_decoders_cost_or_have_their_parameters() -> None:
    """Wang et al. 2017, Table 4: 13.37 M MACs a mask against 12.71, 12.29 and 10.62 M."""
    reference, local, same = (
        whole(replace(ZOO[0], options=options))
        for options in ({}, {"mask": "local"}, {"mask": "local_same_units"})
    )
    extra = count_macs(local) - count_macs(reference)
    assert extra / 1e6 == pytest.approx(3 * 13.37 - 12.71 - 12.29 - 10.62, abs=0.02)
    assert count_parameters(same) == count_parameters(reference)
    assert count_macs(same) / count_macs(reference) == pytest.approx(1.46, abs=0.005)


def test_width_keeps_multiples_of_four_and_the_image_and_the_classes() -> None:
    model = build("wang2017", "attention-56", width=0.1, num_classes=7)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions[0].in_channels == 3
    assert {c.out_channels for c in convolutions} == {4, 8, 12, 24}  # of 1.6 to 25.6
    fc = model.get_submodule("fc")
    assert isinstance(fc, nn.Linear)
    assert (fc.in_features, fc.out_features) == (24, 7)
    assert trunk_depth(model) == 56


def test_batch_norm_takes_its_settings_keeps_fp32_statistics_and_no_counter() -> None:
    model = build("report2019", "attention-56", width=0.125, bn_eps=1e-3, bn_momentum=0.01).float()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(n.eps, n.momentum) for n in norms} == {(1e-3, 0.01)}
    assert not any("num_batches_tracked" in key for key in model.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.randn(2, 3, 16, 16).float()).dtype == torch.bfloat16
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_mean.dtype == torch.float32
        assert norm.running_mean.abs().max() > 0


def test_every_residual_unit_is_found_and_can_be_compiled_whole() -> None:
    model = small(ZOO[0]).eval()
    units = [unit for unit in model.modules() if isinstance(unit, ResidualUnit)]
    # Per stage 2 around the module, 4 on its trunk; masks of 3, 2, 1 poolings hold 8, 5, 2.
    assert len(units) == 3 * 6 + 8 + 5 + 2
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = model(images)
        units[0].compile(backend="eager", fullgraph=True)
        torch.testing.assert_close(model(images), expected)


def test_report2019_refuses_sizes_its_masks_cannot_restore() -> None:
    with pytest.raises(ValueError, match=r"sides divisible by 16 .* got 24x32"):
        small(REPORT_56)(torch.zeros(2, 3, 24, 32))


@pytest.mark.parametrize("px", [8, 20, 28, 33])
def test_wang2017_accepts_any_image_size_from_8_px(px: int) -> None:
    assert small(ZOO[0])(torch.randn(2, 3, px, px)).shape == (2, 10)


@pytest.mark.parametrize(
    "entry",
    [
        REPORT_56,
        *(row for row in ZOO if row.name == "attention-56" and "mask" in row.label),
        ZOO[0],
    ],
    ids=label,
)
def test_a_family_says_which_images_its_networks_cannot_take(entry: ZooEntry) -> None:
    network = FAMILIES[entry.family].of(entry.name, 0.125, entry.options)
    model = whole(entry, width=0.125).eval()
    for px in (1, 7, 8, 9, 16, 31):
        images = torch.zeros(1, 3, px, px)
        if family_of(network).needs(network, px) is None:
            assert model(images).shape == (1, 10)
        else:
            with pytest.raises((RuntimeError, ValueError), match=r"too small|divisible by 16"):
                model(images)
