"""The networks that the 2019 report trained, as its authors' code built them.

They match that code's parameter counts to the unit. Where the report's text, its Table 5 and its
code disagree, the code decides and provenance.py says so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resbench.models.attention import AttentionModule
from resbench.models.catalogue import REPORT2019
from resbench.models.units import (
    GlobalMean,
    InceptionUnit,
    ReportUnit,
    ResidualUnit,
    Settings,
    conv,
    norm_relu,
)

Unit = Callable[[int, int, int, int, Settings], ResidualUnit]
UNITS: dict[str, Unit] = {"residual": ReportUnit, "inception": InceptionUnit}

# Bottleneck width, output channels, stride of the unit that opens each stage with attention.
STAGES = ((32, 128, 1), (64, 256, 2), (128, 512, 2))
SKIPS = {"code": (1, 0, 0), "printed": (2, 1, 0)}
"""Connections inside the masks of the three stages."""


class ReportNet(nn.Sequential):
    """A network of the report; its children are the rows of the report's Table 5."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits (B, classes).

        Raises:
            ValueError: the sides are no multiples of 16, so that pooling by 2 and repeating by 2
                would not meet again.
        """
        height, width = x_BCHW.shape[-2:]
        if height % 16 or width % 16:
            raise ValueError(
                f"report2019 networks need image sides divisible by 16 (masks pool and up-sample "
                f"by exactly 2), got {height}x{width}."
            )
        return super().forward(x_BCHW)


def report2019(
    name: str,
    num_classes: int,
    settings: Settings,
    *,
    learning: str,
    unit: str,
    skips: str,
    fix_trunk: bool,
    as_trained: bool,
    batch_norm: bool,
    dropout: float,
) -> ReportNet:
    """Return a network of the report.

    Args:
        name: "attention-56" or "attention-92".
        num_classes: outputs of the classifier.
        settings: width and batch normalisation.
        learning: "arl" or "nal".
        unit: "residual" as in the authors' code, "inception" as in the report's prose.
        skips: connections inside the masks of stages 1, 2, 3: "code" for 1, 0, 0 as the authors'
            code has them, "printed" for 2, 1, 0 as the report prints.
        fix_trunk: chain the two trunk units the report describes; its code's loop kept only one.
        as_trained: leave out what the trained Attention-56 ARL lacked, the stem's BN-ReLU and
            the dropout; nothing changes for the other networks, which had both.
        batch_norm: whether units normalise; without, they are conv-ReLU.
        dropout: probability of dropping a feature before the classifier.
    """
    make = UNITS[unit]
    settings = replace(settings, batch_norm=batch_norm)
    bare = as_trained and name == "attention-56" and learning == "arl"
    c = settings.channels(32)
    rows: OrderedDict[str, nn.Module] = OrderedDict(conv=conv(3, c, 5, bias=True))
    if not bare:
        rows["norm"] = norm_relu(c, settings)
    rows["max_pool"] = nn.MaxPool2d(2)
    for stage, (mid_at_1, out_at_1, stride) in enumerate(STAGES, start=1):
        out = settings.channels(out_at_1)
        module = AttentionRecipe(make, out, settings, learning, fix_trunk, SKIPS[skips][stage - 1])
        rows[f"stage{stage}_unit"] = make(c, settings.channels(mid_at_1), out, stride, settings)
        rows[f"stage{stage}_attention"] = nn.Sequential(
            *(module.build() for _ in range(REPORT2019[name][stage - 1]))
        )
        c = out
    mid, out = settings.channels(256), settings.channels(1024)
    rows["stage4_units"] = nn.Sequential(
        make(c, mid, out, 1, settings), *(make(out, mid, out, 1, settings) for _ in range(2))
    )
    rows["avg_pool"] = GlobalMean()
    if not bare:
        rows["dropout"] = nn.Dropout(dropout)
    rows["fc"] = nn.Linear(out, num_classes)
    return ReportNet(rows)


@dataclass(frozen=True)
class AttentionRecipe:
    """What an Attention Module of the report is made of; all its units are of full width."""

    make: Unit
    channels: int
    settings: Settings
    learning: str
    fix_trunk: bool
    skips: int

    def units(self, count: int) -> nn.Sequential:
        """Return ``count`` units that keep shape and channels."""
        c = self.channels
        return nn.Sequential(*(self.make(c, c, c, 1, self.settings) for _ in range(count)))

    def build(self) -> AttentionModule:
        """Return a new module: one unit, trunk and mask, one unit."""
        return AttentionModule(
            before=self.units(1),
            trunk=self.units(2 if self.fix_trunk else 1),
            mask=ReportMask(self.channels, self.units, self.skips),
            after=self.units(1),
            learning=self.learning,
        )


class MaskLevel(nn.Module):
    """Max-pool 2x2, units of full width, and ``skips`` more such levels inside.

    What is inside comes back by nearest x2 and is added to a unit of what went in. The output has
    half the input's sides. ``units(n)`` makes n chained units.
    """

    def __init__(self, units: Callable[[int], nn.Sequential], skips: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.down = units(1)
        self.inner = MaskLevel(units, skips - 1) if skips else None
        self.skip = units(1) if skips else None
        self.up = units(1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features at half the input's sides."""
        x_BCHW = self.down(self.pool(x_BCHW))
        if self.inner is not None and self.skip is not None:
            x_BCHW = upsample_nearest_x2(self.inner(x_BCHW)) + self.skip(x_BCHW)
        return self.up(x_BCHW)


class ReportMask(nn.Module):
    """Soft mask of the report: levels of pooling, nearest x2, 1x1 twice, sigmoid."""

    def __init__(self, channels: int, units: Callable[[int], nn.Sequential], skips: int) -> None:
        super().__init__()
        self.level = MaskLevel(units, skips)
        self.tail = nn.Sequential(
            conv(channels, channels, bias=True), conv(channels, channels, bias=True)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the mask in (0, 1), of the input's shape."""
        return torch.sigmoid(self.tail(upsample_nearest_x2(self.level(x_BCHW))))


def upsample_nearest_x2(x_BCHW: Tensor) -> Tensor:
    """Repeat each pixel twice in both directions (Keras ``UpSampling2D``)."""
    return F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest")
