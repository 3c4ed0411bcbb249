"""ResNet-164 for CIFAR: "Identity Mappings in Deep Residual Networks", He et al. 2016.

Paper: https://arxiv.org/abs/1603.05027.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from resbench.models.catalogue import HE2016
from resbench.models.units import BNReLU, GlobalMean, PreActUnit, Settings, conv


def he2016(name: str, num_classes: int, settings: Settings) -> nn.Sequential:
    """Return a pre-activation ResNet; its children are the rows of its architecture table."""
    c = settings.channels(16)
    rows: OrderedDict[str, nn.Module] = OrderedDict(stem=conv(3, c, 3))
    for number, (mid_at_1, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        mid, out = settings.channels(mid_at_1), settings.channels(4 * mid_at_1)
        units = [PreActUnit(c, mid, out, stride, settings)]
        units += [PreActUnit(out, mid, out, 1, settings) for _ in range(HE2016[name] - 1)]
        rows[f"stage{number}"] = nn.Sequential(*units)
        c = out
    rows["norm"] = BNReLU(c, settings)
    rows["avg_pool"] = GlobalMean()
    rows["fc"] = nn.Linear(c, num_classes)
    return nn.Sequential(rows)
