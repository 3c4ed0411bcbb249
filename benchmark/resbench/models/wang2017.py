"""The CIFAR networks of "Residual Attention Network for Image Classification", Wang et al. 2017.

Paper: https://arxiv.org/abs/1704.06904, section 4.1. What the paper leaves open (channel widths,
poolings per stage, alignment of the interpolation) is marked "inferred" in provenance.py.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from resbench.models.attention import (
    ACTIVATIONS,
    AttentionModule,
    EncoderDecoderMask,
    LocalMask,
    unit_chain,
)
from resbench.models.catalogue import WANG2017, ModulePlan
from resbench.models.units import BNReLU, GlobalMean, PreActUnit, Settings, conv

# Bottleneck width, output channels, stride of the first unit, poolings of the masks.
# Inferred, the paper prints none of them for CIFAR: widths and strides are ResNet's, and give the
# printed 1.9 M and 5.1 M parameters; 3, 2 and 1 poolings at 32, 16 and 8 px give the skips
# {2, 1, 0} of the ImageNet networks and a 4x4 bottom in each stage.
STAGES = ((16, 64, 1, 3), (32, 128, 2, 2), (64, 256, 2, 1))


def wang2017(
    name: str, num_classes: int, settings: Settings, *, learning: str, mask: str, activation: str
) -> nn.Sequential:
    """Return a network of the paper; its children are the rows of its architecture table."""
    plan = WANG2017[name]

    def attention_module(channels: int, mid: int, poolings: int) -> AttentionModule:
        return AttentionModule(
            before=unit_chain(plan.p, channels, mid, settings),
            trunk=unit_chain(plan.t, channels, mid, settings),
            mask=soft_mask(mask, channels, mid, poolings, plan, activation, settings),
            after=unit_chain(plan.p, channels, mid, settings),
            learning=learning,
        )

    c = settings.channels(16)
    rows: OrderedDict[str, nn.Module] = OrderedDict(stem=conv(3, c, 3))
    for number, (mid_at_1, out_at_1, stride, poolings) in enumerate(STAGES, start=1):
        mid, out = settings.channels(mid_at_1), settings.channels(out_at_1)
        rows[f"stage{number}_in"] = PreActUnit(c, mid, out, stride, settings)
        rows[f"stage{number}_attention"] = nn.Sequential(
            *(attention_module(out, mid, poolings) for _ in range(plan.m))
        )
        rows[f"stage{number}_out"] = PreActUnit(out, mid, out, 1, settings)
        c = out
    rows["norm"] = BNReLU(c, settings)
    rows["avg_pool"] = GlobalMean()
    rows["fc"] = nn.Linear(c, num_classes)
    return nn.Sequential(rows)


def soft_mask(
    kind: str,
    channels: int,
    mid: int,
    poolings: int,
    plan: ModulePlan,
    activation: str,
    settings: Settings,
) -> nn.Module:
    """Return the mask branch: "encoder-decoder", "local" or "local_same_units".

    "local" is the paper's comparison (Table 4); "local_same_units" keeps the encoder-decoder's own
    units and takes its poolings away: equal parameters, where "local" has equal cost.
    """
    if kind == "local":
        return LocalMask(channels, mid, activation=ACTIVATIONS[activation], settings=settings)
    return EncoderDecoderMask(
        channels,
        mid,
        poolings=poolings,
        r=plan.r,
        activation=ACTIVATIONS[activation],
        settings=settings,
        pooled=kind == "encoder-decoder",
    )
