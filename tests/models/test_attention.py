"""Attention Modules do what their equations say, observed from outside through hooks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resbench.models import build
from resbench.models.attention import (
    Activation,
    AttentionModule,
    EncoderDecoderMask,
    channel_attention,
    spatial_attention,
)
from resbench.models.layers import BNReLU, ResidualUnit, initialize


def network(family: str, **options: Any) -> nn.Sequential:
    model = build(family, "attention-56", width=0.125, **options)
    initialize(model, "he", torch.Generator().manual_seed(3))
    return model.train()


def modules(model: nn.Module) -> list[AttentionModule]:
    return [m for m in model.modules() if isinstance(m, AttentionModule)]


def observe(model: nn.Module) -> list[dict[str, Tensor]]:
    """Run the model once; per Attention Module, return its T and M, what each is computed of, and
    the H its last units get."""
    seen: list[dict[str, Tensor]] = [{} for _ in modules(model)]
    for module, tensors in zip(modules(model), seen, strict=True):
        for part, branch in (("T", module.trunk), ("M", module.mask)):
            branch.register_forward_hook(
                lambda _, arguments, result, into=tensors, part=part: into.update(
                    {part: result, f"{part} of": arguments[0]}
                )
            )
        module.after.register_forward_pre_hook(
            lambda _, arguments, into=tensors: into.update(H=arguments[0])
        )
    model(torch.randn(3, 3, 32, 32))
    return seen


@pytest.mark.parametrize("family", ["wang2017", "report2019"])
def test_arl_is_one_plus_mask_times_trunk_and_nal_is_mask_times_trunk(family: str) -> None:
    for learning in ("arl", "nal"):
        seen = observe(network(family, learning=learning))
        assert len(seen) == 3
        for part in seen:
            T, M = part["T"], part["M"]
            assert torch.equal(part["T of"], part["M of"]), "side by side, on one input"
            expected, other = (1 + M) * T, M * T
            if learning == "nal":
                expected, other = other, expected
            torch.testing.assert_close(part["H"], expected, rtol=1e-6, atol=1e-6)
            assert (part["H"] - other).abs().max() > 0.1


@pytest.mark.parametrize(
    ("activation", "function"),
    [("mixed", torch.sigmoid), ("channel", channel_attention), ("spatial", spatial_attention)],
)
def test_a_local_mask_is_the_activation_of_three_units_and_nothing_else(
    activation: str, function: Activation
) -> None:
    for module in modules(network("wang2017", mask="local", activation=activation).eval()):
        units = module.mask.get_submodule("units")
        assert len(list(units.children())) == 3
        assert set(dict(module.mask.named_children())) == {"units"}
        x = torch.randn(2, next(units.parameters()).shape[0], 8, 8)
        torch.testing.assert_close(module.mask(x), function(units(x)))


def test_a_channel_mask_has_unit_norm_at_every_position_and_no_sigmoid() -> None:
    for part in observe(network("wang2017", activation="channel")):
        norms = part["M"].square().sum(1)
        dead = norms == 0  # so narrow a net has positions where every channel is cut off by ReLU
        assert dead.float().mean() < 0.01
        torch.testing.assert_close(norms[~dead], torch.ones_like(norms[~dead]))
        assert part["M"].min() < 0


def test_a_spatial_mask_is_the_sigmoid_of_a_standardised_map() -> None:
    for part in observe(network("wang2017", activation="spatial")):
        z = torch.logit(part["M"])
        torch.testing.assert_close(
            z.mean((2, 3)), torch.zeros_like(z[:, :, 0, 0]), atol=1e-4, rtol=0
        )
        std = z.std((2, 3), correction=0)
        torch.testing.assert_close(std, torch.ones_like(std), atol=1e-2, rtol=0)
    assert (spatial_attention(torch.full((1, 2, 4, 4), 3.0)) == 0.5).all(), "a constant map"
    four = torch.tensor([[0.0, 0.0], [2.0, 2.0]]).expand(1, 1, 2, 2)  # few pixels: 1 off the mean
    torch.testing.assert_close(spatial_attention(four), torch.sigmoid(four - 1), atol=1e-5, rtol=0)


def bilinear(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)


def levels(mask: nn.Module) -> int:
    """Count the poolings of a mask."""
    return sum(isinstance(module, nn.MaxPool2d) for module in mask.modules())


def without_pooling(level: nn.Module) -> nn.Sequential:
    """The residual units of a level."""
    return nn.Sequential(*(u for u in level.children() if isinstance(u, ResidualUnit)))


@pytest.mark.parametrize("pooled", [True, False])
def test_the_masks_of_the_three_stages_follow_their_definition_level_by_level(pooled: bool) -> None:
    kind = "encoder-decoder" if pooled else "local_same_units"
    masks = [m.mask for m in modules(network("wang2017", mask=kind).eval())]
    assert [levels(mask) for mask in masks] == ([3, 2, 1] if pooled else [0, 0, 0])
    for mask, channels in zip(masks, (8, 16, 32), strict=True):
        assert isinstance(mask, EncoderDecoderMask)
        y = x = torch.randn(2, channels, 256 // channels, 256 // channels)
        kept = []
        for down in (*mask.down, mask.bottom):
            y = F.max_pool2d(y, 3, stride=2, ceil_mode=True) if pooled else y
            y = without_pooling(down)(y)
            kept.append(y)
        for k, skip, up in zip(kept[-2::-1], mask.skips, mask.up, strict=True):
            y = up(bilinear(y, k) + skip(k))
        assert [type(part) for part in mask.tail] == [BNReLU, nn.Conv2d] * 2
        torch.testing.assert_close(mask(x), torch.sigmoid(mask.tail(bilinear(y, x))))


def test_the_report_s_mask_skips_once_in_stage_1_and_nowhere_else() -> None:
    one, two, three = (m.mask for m in modules(network("report2019").eval()))
    assert [levels(mask) for mask in (one, two, three)] == [2, 1, 1]
    more = modules(network("report2019", skips="printed"))
    assert [levels(m.mask) for m in more] == [3, 2, 1], "as published"
    x = torch.randn(2, 16, 16, 16)
    k = one.get_submodule("level.down")(F.max_pool2d(x, 2))
    inner = one.get_submodule("level.inner.down")(F.max_pool2d(k, 2))
    inner = one.get_submodule("level.inner.up")(inner)
    y = inner.repeat_interleave(2, 2).repeat_interleave(2, 3) + one.get_submodule("level.skip")(k)
    y = one.get_submodule("level.up")(y).repeat_interleave(2, 2).repeat_interleave(2, 3)
    tail = one.get_submodule("tail")
    assert [type(part) for part in tail.children()] == [nn.Conv2d] * 2
    torch.testing.assert_close(one(x), torch.sigmoid(tail(y)))


def test_without_batch_normalisation_no_statistics_are_left_and_inputs_stay_as_they_are() -> None:
    bare = network("report2019", batch_norm=False).eval()
    assert not [m for m in bare.modules() if isinstance(m, nn.BatchNorm2d)]
    x = torch.randn(2, 4, 16, 16)
    before = x.clone()
    bare.get_submodule("stage1_unit")(x)
    assert torch.equal(x, before)


def test_as_trained_changes_only_the_arl_of_attention_56() -> None:
    def rows(name: str = "attention-56", **options: Any) -> list[str]:
        with torch.device("meta"):
            return [row for row, _ in build("report2019", name, **options).named_children()]

    missing = {"norm", "dropout"}
    assert set(rows()) - set(rows(as_trained=True)) == missing
    assert missing <= set(rows(as_trained=True, learning="nal"))
    assert missing <= set(rows("attention-92", as_trained=True))


def test_the_head_norm_is_the_last_thing_before_the_average_pool() -> None:
    model = network("report2019", head_norm=True)
    rows = [row for row, _ in model.named_children()]
    assert rows[rows.index("avg_pool") - 1] == "head_norm"
    assert isinstance(model.get_submodule("head_norm"), BNReLU)
    plain = [row for row, _ in network("report2019").named_children()]
    assert [row for row in rows if row != "head_norm"] == plain


def test_dropout_has_the_rate_of_the_network() -> None:
    dropout = network("report2019", dropout=0.25).get_submodule("dropout")
    assert isinstance(dropout, nn.Dropout)
    assert dropout.p == 0.25
