"""The CIFAR networks of "Residual Attention Network for Image Classification", Wang et al. 2017.

Paper: https://arxiv.org/abs/1704.06904, section 4.1. "paper-code" in the provenance is what its
authors published with it: the network definitions of their ImageNet models and their Caffe.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

from resbench.models.family import Family, Network, Part, ZooEntry

if TYPE_CHECKING:
    from torch import nn

    from resbench.models.attention import AttentionModule
    from resbench.models.layers import Settings


class Wang2017(Network, tag="wang2017", frozen=True):
    """A CIFAR network of Wang et al. 2017, section 4.1."""

    name: Literal[
        "attention-56", "attention-92", "attention-128",
        "attention-164", "attention-236", "attention-452",
    ]  # fmt: skip
    learning: Literal["arl", "nal"]
    mask: Literal["encoder-decoder", "local", "local_same_units"]
    """"local" is the paper's comparison (Table 4), of equal cost; "local_same_units" keeps the
    encoder-decoder's own units without its poolings, for equal parameters."""
    activation: Literal["mixed", "channel", "spatial"]


# m, p, t, r (section 4.1, caption of Fig. 2): Attention Modules in each of the three stages; units
# before and after each module's branches, in its trunk, and between two poolings of its mask.
PLANS = {
    "attention-56": (1, 1, 2, 1),
    "attention-92": (2, 1, 2, 1),
    "attention-128": (3, 1, 2, 1),
    "attention-164": (4, 1, 2, 1),
    "attention-236": (6, 1, 2, 1),
    "attention-452": (6, 2, 4, 3),
}
# Bottleneck width, output channels, stride of the first unit, poolings of the masks.
# Inferred, the paper has none of them for CIFAR: widths and strides are ResNet's, and give the
# published 1.9 M and 5.1 M parameters; 3, 2 and 1 poolings at 32, 16 and 8 px give the skips
# {2, 1, 0} of the ImageNet networks and a 4x4 bottom in each stage.
STAGES = ((16, 64, 1, 3), (32, 128, 2, 2), (64, 256, 2, 1))


def build(network: Wang2017, num_classes: int, settings: Settings) -> nn.Sequential:
    """Return a network of the paper; its children are the rows of its architecture table."""
    from torch import nn

    from resbench.models.layers import BNReLU, GlobalMean, PreActUnit, conv

    c = settings.channels(16)
    rows: OrderedDict[str, nn.Module] = OrderedDict(stem=conv(3, c, 3))
    for number, (mid_at_1, out_at_1, stride, poolings) in enumerate(STAGES, start=1):
        mid, out = settings.channels(mid_at_1), settings.channels(out_at_1)
        rows[f"stage{number}_in"] = PreActUnit(c, mid, out, stride, settings)
        m = PLANS[network.name][0]
        modules = [attention_module(network, out, mid, poolings, settings) for _ in range(m)]
        rows[f"stage{number}_attention"] = nn.Sequential(*modules)
        rows[f"stage{number}_out"] = PreActUnit(out, mid, out, 1, settings)
        c = out
    rows["norm"] = BNReLU(c, settings)
    rows["avg_pool"] = GlobalMean()
    rows["fc"] = nn.Linear(c, num_classes)
    return nn.Sequential(rows)


def attention_module(
    network: Wang2017, channels: int, mid: int, poolings: int, settings: Settings
) -> AttentionModule:
    """Return an Attention Module whose mask pools ``poolings`` times."""
    from torch import nn

    from resbench.models import attention
    from resbench.models.layers import PreActUnit

    _, p, t, r = PLANS[network.name]
    activation = attention.ACTIVATIONS[network.activation]

    def units(count: int) -> nn.Sequential:
        c = channels
        return nn.Sequential(*(PreActUnit(c, mid, c, 1, settings) for _ in range(count)))

    mask: nn.Module
    if network.mask == "local":
        mask = attention.LocalMask(units, activation)
    else:
        mask = attention.EncoderDecoderMask(
            channels, units, poolings=poolings, r=r, activation=activation, settings=settings,
            pooled=network.mask == "encoder-decoder",
        )  # fmt: skip
    return attention.AttentionModule(units(p), units(t), mask, units(p), network.learning)


def needs(network: Wang2017, px: int) -> str | None:
    """Say which image sides it needs if those of so many px leave its masks nothing to pool."""
    least_px = 2 ** max(poolings for *_, poolings in STAGES)
    pools = network.mask == "encoder-decoder"
    return f"at least {least_px} px" if pools and px < least_px else None


# fmt: off
ZOO = (
    ZooEntry("wang2017", "attention-56", {}, "Attention-56",
        1_030_362, 1_053_492, 122.8, None, 56),
    ZooEntry("wang2017", "attention-92", {}, "Attention-92",
        1_841_242, 1_864_372, 211.9, "1.9 M", 92),
    ZooEntry("wang2017", "attention-128", {}, "Attention-128",
        2_652_122, 2_675_252, 301.0, None, 128),
    ZooEntry("wang2017", "attention-164", {}, "Attention-164",
        3_463_002, 3_486_132, 390.1, None, 164),
    ZooEntry("wang2017", "attention-236", {}, "Attention-236",
        5_084_762, 5_107_892, 568.3, "5.1 M", 236),
    ZooEntry("wang2017", "attention-452", {}, "Attention-452",
        10_181_210, 10_204_340, 984.4, "8.6 M", 452,
        note="unresolved: {p=2, t=4, r=3} and m=6 as published do not give the published size"),
    ZooEntry("wang2017", "attention-56", {"learning": "nal"}, "Attention-56, NAL",
        1_030_362, 1_053_492, 122.8, None, 56),
    ZooEntry("wang2017", "attention-56", {"activation": "channel"},
        "Attention-56, channel attention", 1_030_362, 1_053_492, 122.8, None, 56),
    ZooEntry("wang2017", "attention-56", {"activation": "spatial"},
        "Attention-56, spatial attention", 1_030_362, 1_053_492, 122.8, None, 56),
    ZooEntry("wang2017", "attention-56", {"mask": "local"}, "Attention-56, local mask",
        868_634, 891_764, 127.3, None, 56),
    ZooEntry("wang2017", "attention-56", {"mask": "local_same_units"},
        "Attention-56, local mask, same units", 1_030_362, 1_053_492, 179.2, None, 56),
)
PROVENANCE = (
    Part("stages", "3, with m Attention Modules each", "paper", "section 4.1"),
    Part("trunk depth", "36 m + 20", "paper", "section 4.1"),
    Part("p, t, r", "1, 2, 1", "paper", "caption of Fig. 2"),
    Part("p, t, r of Attention-452", "2, 4, 3 with m = 6", "paper", "caption of Table 6",
         "gives 10.2 M parameters where 8.6 M is published: unresolved, both are shown"),
    Part("residual unit", "pre-activation bottleneck 1x1, 3x3, 1x1, no biases", "paper",
         "section 3", "built as in He et al. 2016, which the paper follows"),
    Part("stem", "3x3, 16 channels, stride 1, no bias, no BN", "inferred", "section 4.1",
         "the CIFAR stem of He et al. 2016; the first unit's own BN-ReLU follows"),
    Part("channel widths", "64, 128, 256; bottlenecks 16, 32, 64", "inferred",
         "caption of Table 2", "channels as in ResNet, said there of ImageNet; read for CIFAR they "
         "give the published 1.9 M and 5.1 M parameters with 100 classes"),
    Part("strides", "1, 2, 2 in the first unit of a stage", "inferred", "section 4.1",
         "32, 16, 8 px as in He et al. 2016"),
    Part("units around the modules", "2 in each stage", "paper", "section 4.1"),
    Part("their place", "one before the modules, one after", "inferred", "section 4.1",
         "the first has to change the width; the other is placed by symmetry"),
    Part("shortcut", "identity; 1x1 convolution of the activated input where the shape changes",
         "inferred", "section 4.1", "as in the code of He et al. 2016"),
    Part("width of mask units", "the trunk's", "paper", "caption of Fig. 2"),
    Part("attention residual learning", "H = (1 + M) T", "paper", "section 3.1, Eq. 3"),
    Part("naive attention learning", "H = M T", "paper", "section 4.1, Table 3"),
    Part("poolings of the mask", "3, 2, 1 in stages 1, 2, 3", "inferred", "section 3.2, Fig. 2",
         "every mask then reaches 4x4, and the skips are {2, 1, 0} as on ImageNet. The rule in the "
         "caption of Table 2, smallest mask map = smallest trunk map, would give 2, 1, 0 here, "
         "which contradicts the published parameter counts"),
    Part("mask max-pool", "3x3, stride 2, no padding, sizes rounded up", "paper-code",
         "ImageNet definitions"),
    Part("units between poolings", "r, and 2 r at the bottom", "paper", "section 3.2, Fig. 2"),
    Part("mask skips", "a residual unit of the level's output, added after up-sampling",
         "paper-code", "ImageNet definitions"),
    Part("interpolation", "bilinear, align_corners=True", "paper-code",
         "Interp layer of its Caffe", "section 3.2 says bilinear and not how corners fall"),
    Part("interpolation arithmetic", "products with fixed matrices", "deviation", "-",
         "repeatable on a GPU; equal to the interpolation kernel to rounding"),
    Part("mask tail", "BN-ReLU-1x1, BN-ReLU-1x1, no biases, all channels", "paper-code",
         "ImageNet definitions", "section 3.2 states the two 1x1 convolutions"),
    Part("mask activation",
         "mixed: sigmoid; channel: x / ||x||; spatial: sigmoid((x - mean)/std)",
         "paper", "section 3.3, Eq. 4 to 6"),
    Part("std of spatial attention", "population, 1e-5 added to the variance", "inferred",
         "section 3.3, Eq. 6", "a constant map must not divide by zero"),
    Part("local mask", "3 units at full resolution and the activation", "inferred",
         "section 4.1, Table 4", "the form whose cost comes near the claimed equal FLOPs: "
         "13.37 M against 12.71, 12.29 and 10.62 M multiply-accumulates in stages 1, 2, 3"),
    Part("local_same_units mask", "the encoder-decoder's units without poolings", "deviation",
         "section 4.1, Table 4", "a second control: equal parameters instead of equal cost"),
    Part("head", "BN-ReLU, global mean, linear with bias", "inferred", "section 4.1",
         "as in He et al. 2016; pre-activation leaves the last sum unnormalised"),
    Part("initialisation", "He normal", "paper", "section 4.1"),
    Part("initialisation, mode", "variance 2 / fan_in, the classifier included", "inferred",
         "section 4.1", "the default of the framework's MSRA filler; no layer is excepted"),
    Part("BN eps and momentum", "1e-5; 0.1 for the new batch", "paper-code",
         "ImageNet definitions"),
    Part("parameters on ImageNet", "31.9 M published for Attention-56", "paper", "Table 2",
         "counts four blobs a batch normalisation, the running statistics among them"),
)
# fmt: on

FAMILY = Family(
    Wang2017,
    build,
    needs,
    authors="Wang et al. 2017",
    usual={"learning": "arl", "mask": "encoder-decoder", "activation": "mixed"},
    zoo=ZOO,
    provenance=PROVENANCE,
)
