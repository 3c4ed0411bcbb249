"""Every network of the zoo: exact size, working forward and backward, stable state."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import nn

from resbench.models import ZOO, ZooEntry, build
from resbench.models.count import (
    count_macs,
    count_parameters,
    count_with_bn_statistics,
    output_sizes,
    residual_units,
    trunk_depth,
)
from resbench.models.init import initialize

INCEPTION = ZooEntry(
    "report2019", "attention-56", {"unit": "inception"}, "inception", 0, 0, 0, None, 47
)
EVERY_NETWORK = pytest.mark.parametrize("entry", ZOO, ids=lambda e: f"{e.family}: {e.label}")


def on_meta(entry: ZooEntry, **overrides: Any) -> nn.Sequential:
    with torch.device("meta"):
        return build(entry.family, entry.name, **{**entry.options, **overrides})


def small(entry: ZooEntry, **overrides: Any) -> nn.Sequential:
    width = 0.125 if entry.family == "report2019" else 0.25
    model = build(entry.family, entry.name, **{"width": width, **entry.options, **overrides})
    initialize(model, "he", torch.Generator().manual_seed(7))
    return model


@EVERY_NETWORK
def test_sizes_equal_the_catalogue_to_the_unit(entry: ZooEntry) -> None:
    model = on_meta(entry)
    assert count_parameters(model) == entry.parameters_10
    assert count_parameters(on_meta(entry, num_classes=100)) == entry.parameters_100
    assert count_macs(model) / 1e6 == pytest.approx(entry.macs_m, abs=0.1)
    assert trunk_depth(model) == entry.trunk_depth
    if entry.with_bn_statistics_10 is not None:
        assert count_with_bn_statistics(model) == entry.with_bn_statistics_10


@pytest.mark.parametrize(
    "entry", [*ZOO, INCEPTION], ids=[f"{e.family}: {e.label}" for e in [*ZOO, INCEPTION]]
)
def test_trains_in_both_memory_formats_and_evaluates_repeatably(entry: ZooEntry) -> None:
    model = small(entry, **({"dropout": 0.0} if entry.family == "report2019" else {}))
    keys = list(model.state_dict())
    images, labels = torch.randn(4, 3, 16, 16), torch.arange(4)

    logits = model(images)
    F.cross_entropy(logits, labels).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if name.endswith("0.mask.tail.3.weight") or name == "fc.weight":
            assert parameter.grad.abs().max() > 0, name

    again = small(entry, **({"dropout": 0.0} if entry.family == "report2019" else {}))
    again = cast(Any, again).to(memory_format=torch.channels_last)
    images_last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(again(images_last), logits)

    model.eval()
    statistics = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.inference_mode():
        first, second = model(images), model(images)
    assert torch.equal(first, second)
    assert first.shape == (4, 10)
    assert list(model.state_dict()) == keys
    assert all(torch.equal(value, statistics[key]) for key, value in model.state_dict().items())


def test_output_sizes_of_wang2017_halve_from_stage_to_stage() -> None:
    with torch.device("meta"):
        model = build("wang2017", "attention-92", num_classes=100)
    sizes = {row.row: str(row) for row in output_sizes(model)}
    assert sizes["stem"] == "32x32x16"
    for stage, size in enumerate(("32x32x64", "16x16x128", "8x8x256"), start=1):
        for part in ("in", "attention", "out"):
            assert sizes[f"stage{stage}_{part}"] == size
    assert (sizes["avg_pool"], sizes["fc"]) == ("1x1x256", "100")
    small_images = {row.row: str(row) for row in output_sizes(model, image_px=16)}
    assert small_images["stage3_out"] == "4x4x256"


def test_local_masks_cost_what_the_encoder_decoders_cost_or_have_their_parameters() -> None:
    """Wang et al. 2017, Table 4: 13.37 M MACs a mask against 12.71, 12.29 and 10.62 M."""

    def build_56(**options: Any) -> nn.Sequential:
        with torch.device("meta"):
            return build("wang2017", "attention-56", **options)

    reference, local, same = (
        build_56(),
        build_56(mask="local"),
        build_56(mask="local_same_units"),
    )
    extra = count_macs(local) - count_macs(reference)
    assert extra / 1e6 == pytest.approx(3 * 13.37 - 12.71 - 12.29 - 10.62, abs=0.02)
    assert count_parameters(same) == count_parameters(reference)
    assert count_macs(same) / count_macs(reference) == pytest.approx(1.46, abs=0.005)


def test_measuring_leaves_the_model_and_the_random_state_alone() -> None:
    model = small(ZOO[0])
    model.get_submodule("stage2_attention").eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state = torch.random.get_rng_state()

    count_macs(model)
    output_sizes(model)

    assert torch.equal(torch.random.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.device.type == "cpu" for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_width_keeps_multiples_of_four_and_the_image_and_the_classes() -> None:
    model = build("wang2017", "attention-56", width=0.1, num_classes=7)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions[0].in_channels == 3
    assert {c.out_channels % 4 for c in convolutions} == {0}
    assert min(c.out_channels for c in convolutions) == 4
    fc = model.get_submodule("fc")
    assert isinstance(fc, nn.Linear)
    assert (fc.in_features, fc.out_features) == (24, 7)  # 256 * 0.1, to the nearest 4
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


def test_weights_survive_a_file_format_that_forgets_versions() -> None:
    source, target = small(ZOO[0]), small(ZOO[0])
    initialize(target, "glorot", torch.Generator().manual_seed(1))
    target.load_state_dict(load(save(source.state_dict())), strict=True)
    assert all(
        torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items()
    )


def test_an_engine_finds_every_residual_unit_and_can_compile_it_whole() -> None:
    model = small(ZOO[0]).eval()
    units = list(residual_units(model))
    # Per stage 2 around the module, 4 on its trunk; masks of 3, 2, 1 poolings hold 8, 5, 2.
    assert len(units) == 3 * 6 + 8 + 5 + 2
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = model(images)
        units[0].compile(backend="eager", fullgraph=True)
        torch.testing.assert_close(model(images), expected)


def test_report2019_refuses_sizes_its_masks_cannot_restore() -> None:
    model = small(ZooEntry("report2019", "attention-56", {}, "", 0, 0, 0, None, 47))
    with pytest.raises(ValueError, match=r"sides divisible by 16 .* got 24x32"):
        model(torch.zeros(2, 3, 24, 32))


@pytest.mark.parametrize("px", [8, 20, 28, 33])
def test_wang2017_accepts_any_image_size(px: int) -> None:
    assert small(ZOO[0])(torch.randn(2, 3, px, px)).shape == (2, 10)
