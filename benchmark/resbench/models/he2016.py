"""ResNet-164 and 1001 for CIFAR: "Identity Mappings in Deep Residual Networks", He et al. 2016.

Paper: https://arxiv.org/abs/1603.05027.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

from resbench.models.family import Family, Network, Part, ZooEntry

if TYPE_CHECKING:
    from torch import nn

    from resbench.models.layers import Settings


class He2016(Network, tag="he2016", frozen=True):
    """The pre-activation ResNet of He et al. 2016 (arXiv:1603.05027)."""

    name: Literal["resnet-164", "resnet-1001"]


UNITS = {"resnet-164": 18, "resnet-1001": 111}  # in each of the three stages


def build(network: He2016, num_classes: int, settings: Settings) -> nn.Sequential:
    """Return a pre-activation ResNet; its children are the rows of its architecture table."""
    from torch import nn

    from resbench.models.layers import BNReLU, GlobalMean, PreActUnit, conv

    c = settings.channels(16)
    rows: OrderedDict[str, nn.Module] = OrderedDict(stem=conv(3, c, 3))
    for number, (mid_at_1, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        mid, out = settings.channels(mid_at_1), settings.channels(4 * mid_at_1)
        units = [PreActUnit(c, mid, out, stride, settings)]
        units += [PreActUnit(out, mid, out, 1, settings) for _ in range(UNITS[network.name] - 1)]
        rows[f"stage{number}"] = nn.Sequential(*units)
        c = out
    rows["norm"] = BNReLU(c, settings)
    rows["avg_pool"] = GlobalMean()
    rows["fc"] = nn.Linear(c, num_classes)
    return nn.Sequential(rows)


# fmt: off
ZOO = (
    ZooEntry("he2016", "resnet-164", {}, "ResNet-164",
        1_703_258, 1_726_388, 247.6, "1.7 M", 164),
    ZooEntry("he2016", "resnet-1001", {}, "ResNet-1001",
        10_327_706, 10_350_836, 1491.0, "10.3 M", 1001),
)
PROVENANCE = (
    Part("units", "18 or 111 a stage: 9 x 18 + 2 = 164 layers, 9 x 111 + 2 = 1001", "paper",
         "section 4"),
    Part("residual unit", "pre-activation bottleneck, no biases", "paper",
         "section 4.1, Fig. 4(e)"),
    Part("stem", "3x3, 16 channels, stride 1, no BN", "paper", "He et al. 2015, section 4.2"),
    Part("channel widths", "64, 128, 256; bottlenecks 16, 32, 64", "paper", "appendix",
         "give the 1.7 M and 10.3 M that Wang et al. publish"),
    Part("strides", "1, 2, 2 in the 3x3 of a stage's first unit", "inferred", "appendix",
         "the released Torch code strides in the first 1x1"),
    Part("shortcut", "identity; 1x1 convolution of the activated input where the shape changes",
         "paper", "appendix", "the first and last activations are treated apart there"),
    Part("head", "BN-ReLU after the last addition, global mean, linear with bias", "paper",
         "appendix"),
    Part("initialisation", "He normal", "paper", "appendix"),
    Part("initialisation, mode", "variance 2 / fan_in, the classifier included", "inferred",
         "appendix", "one scheme for both families, so that only the architecture differs; the "
         "released Torch code takes fan_out"),
    Part("optimizer and normalisation", "momentum SGD, mean image", "paper",
         "He et al. 2015, section 4.2", "the released Torch code uses Nesterov momentum and "
         "channel statistics"),
    Part("BN eps and momentum", "1e-5; 0.1 for the new batch", "inferred", "-", "unstated"),
)
# fmt: on

FAMILY = Family(He2016, build, authors="He et al. 2016", zoo=ZOO, provenance=PROVENANCE)
