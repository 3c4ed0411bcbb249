"""The networks that the 2019 report trained, as its authors' code built them.

They match that code's parameter counts to the unit. Where the report's text, its Table 5 and its
code disagree, the code decides and the provenance says so.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from resbench.models.family import Family, Network, Part, ZooEntry

if TYPE_CHECKING:
    from torch import nn

    from resbench.models.layers import Settings


class Report2019(Network, tag="report2019", frozen=True, omit_defaults=True):
    """A network of the 2019 report, Table 5 and its authors' code."""

    name: Literal["attention-56", "attention-92"]
    learning: Literal["arl", "nal"]
    unit: Literal["residual", "inception"]
    """As in the authors' code, or as in the report's prose."""
    skips: Literal["code", "printed"]
    """Inside the masks: as the authors' code has them, or as in section 5.3 of the report."""
    fix_trunk: bool
    """Chain the two trunk units the report describes; its code's loop kept only one."""
    as_trained: bool
    """Leave out what the trained Attention-56 ARL lacked, the stem's BN-ReLU and the dropout;
    nothing changes for the other networks, which had both."""
    batch_norm: bool
    """Whether stem and units normalise; without, ReLU alone is left before each convolution."""
    dropout: Annotated[float, Meta(ge=0, lt=1)]
    """Probability of dropping a feature before the classifier."""
    head_norm: bool = False
    """Put BN-ReLU before the average pool, as Wang et al.'s networks have it and these had not."""


# Bottleneck width, output channels, stride of the unit that opens each stage with attention.
STAGES = ((32, 128, 1), (64, 256, 2), (128, 512, 2))
# In each of these three: Attention Modules, and connections inside their masks.
MODULES = {"attention-56": (1, 1, 1), "attention-92": (1, 2, 3)}
SKIPS = {"code": (1, 0, 0), "printed": (2, 1, 0)}


def build(network: Report2019, num_classes: int, settings: Settings) -> nn.Sequential:
    """Return a network of the report; its children are the rows of the report's Table 5."""
    from torch import nn

    from resbench.models.attention import AttentionModule, ReportMask, ReportNet
    from resbench.models.layers import GlobalMean, InceptionUnit, ReportUnit, conv, norm_relu

    make = ReportUnit if network.unit == "residual" else InceptionUnit
    settings = replace(settings, batch_norm=network.batch_norm)
    bare = network.as_trained and network.name == "attention-56" and network.learning == "arl"

    def attention_module(channels: int, skips: int) -> AttentionModule:
        def units(count: int) -> nn.Sequential:  # of full width
            c = channels
            return nn.Sequential(*(make(c, c, c, 1, settings) for _ in range(count)))

        return AttentionModule(
            before=units(1),
            trunk=units(2 if network.fix_trunk else 1),
            mask=ReportMask(channels, units, skips),
            after=units(1),
            learning=network.learning,
        )

    c = settings.channels(32)
    rows: OrderedDict[str, nn.Module] = OrderedDict(conv=conv(3, c, 5, bias=True))
    if not bare:
        rows["norm"] = norm_relu(c, settings)
    rows["max_pool"] = nn.MaxPool2d(2)
    for stage, (mid_at_1, out_at_1, stride) in enumerate(STAGES, start=1):
        out = settings.channels(out_at_1)
        rows[f"stage{stage}_unit"] = make(c, settings.channels(mid_at_1), out, stride, settings)
        count, skips = MODULES[network.name][stage - 1], SKIPS[network.skips][stage - 1]
        modules = [attention_module(out, skips) for _ in range(count)]
        rows[f"stage{stage}_attention"] = nn.Sequential(*modules)
        c = out
    mid, out = settings.channels(256), settings.channels(1024)
    rows["stage4_units"] = nn.Sequential(
        make(c, mid, out, 1, settings), *(make(out, mid, out, 1, settings) for _ in range(2))
    )
    if network.head_norm:
        rows["head_norm"] = norm_relu(out, settings)
    rows["avg_pool"] = GlobalMean()
    if not bare:
        rows["dropout"] = nn.Dropout(network.dropout)
    rows["fc"] = nn.Linear(out, num_classes)
    return ReportNet(rows)


def needs(_network: Report2019, px: int) -> str | None:
    """Say which images a network needs if its masks cannot restore those of so many px."""
    return "a multiple of 16 px" if px % 16 else None


_ROWS = {
    "conv": ("5x5x32, stride=1", "32x32x32"),
    "max_pool": ("2x2 stride=2", "16x16x32"),
    "stage1_unit": ("(32,32,128)", "16x16x128"),
    "stage1_attention": ("x1", "16x16x128"),
    "stage2_unit": ("(64,64,256)", "8x8x256"),
    "stage2_attention": ("x1", "8x8x256"),
    "stage3_unit": ("(128,128,512)", "4x4x512"),
    "stage3_attention": ("x1", "4x4x512"),
    "stage4_units": ("(256,256,1024) x3", "4x4x1024"),
    "avg_pool": ("4x4 stride=1", "1x1x1024"),
    "dropout": ("0.4", "1x1x1024"),
    "fc": ("1024 to 10", "10"),
}
_MORE_MODULES = {"stage2_attention": ("x2", "8x8x256"), "stage3_attention": ("x3", "4x4x512")}
LAYERS = {"attention-56": _ROWS, "attention-92": {**_ROWS, **_MORE_MODULES}}
"""Layer and output size by row, in the notation of the report's Table 5; a test builds them."""

# fmt: off
USUAL = {
    "learning": "arl", "unit": "residual", "skips": "code", "fix_trunk": False,
    "as_trained": False, "batch_norm": True, "dropout": 0.4, "head_norm": False,
}
ZOO = (
    ZooEntry("report2019", "attention-56", {}, "Attention-56",
        28_326_986, 28_419_236, 688.2, "28M", 47,
        with_bn_statistics_10=28_366_154,
        note="47 weighted layers on the trunk, not the published 56"),
    ZooEntry("report2019", "attention-92", {}, "Attention-92",
        64_962_634, 65_054_884, 1241.9, "65M", 74,
        with_bn_statistics_10=65_040_202,
        note="74 weighted layers on the trunk, not the published 92"),
    ZooEntry("report2019", "attention-56", {"fix_trunk": True}, "Attention-56, both trunk units",
        32_464_714, 32_556_964, 839.2, None, 56,
        with_bn_statistics_10=32_509_258),
    ZooEntry("report2019", "attention-92", {"fix_trunk": True}, "Attention-92, both trunk units",
        76_191_050, 76_283_300, 1543.9, None, 92,
        with_bn_statistics_10=76_281_674),
    ZooEntry("report2019", "attention-56", {"as_trained": True}, "Attention-56, as trained",
        28_326_922, 28_419_172, 688.2, None, 47,
        with_bn_statistics_10=28_366_026,
        note="its ARL lacked the stem's BN-ReLU and the dropout that its NAL had"),
    ZooEntry("report2019", "attention-56", {"head_norm": True}, "Attention-56, BN-ReLU in the head",
        28_329_034, 28_421_284, 688.2, None, 47,
        with_bn_statistics_10=28_370_250),
)
PROVENANCE = (
    Part("stem", "5x5, 32 channels, bias", "report", "Table 5"),
    Part("stem stride", "1", "report-code", "Table 5",
         "Table 5 has stride 2, but its own output size of 32x32 needs 1"),
    Part("stem BN", "BN-ReLU before the max-pool", "report-code", "-",
         "the trained Attention-56 ARL lacked it, its NAL had it: as_trained restores that"),
    Part("stem max-pool", "2x2, stride 2", "report", "Table 5"),
    Part("channel widths", "128, 256, 512, 1024; bottlenecks a quarter", "report", "Table 5"),
    Part("modules", "(1, 1, 1) in Attention-56, (1, 2, 3) in Attention-92", "report", "Table 5"),
    Part("residual unit", "three BN-ReLU-conv with biases, a 1x1 convolution of the raw input as "
         "shortcut, always", "report-code", "-", "needed for the authors' counts to the unit"),
    Part("strides", "1, 2, 2, 1 in the first unit of a stage", "report", "Table 5"),
    Part("padding of stride-2 convolutions", "1 pixel on each side", "deviation", "-",
         "Keras pads such 3x3 convolutions below and to the right only, which shifts the grid by "
         "one pixel against the 1x1 shortcut; sizes and counts are equal"),
    Part("units inside a module", "full width (C, C, C)", "report-code", "-"),
    Part("p, t, r", "1, 1, 1", "report-code", "Fig. 1",
         "text and figure give the trunk two units; the code's loop kept only the last: "
         "fix_trunk chains both"),
    Part("trunk depth", "47 and 74 weighted layers", "report-code", "Table 5",
         "follows from the lost trunk unit; 56 and 92 with fix_trunk"),
    Part("skips", "1, 0, 0 in stages 1, 2, 3 (2, 1, 1 poolings)", "report-code", "section 5.3",
         "the report has {2, 1, 0}: option skips=printed"),
    Part("mask max-pool", "2x2, stride 2", "report-code", "-"),
    Part("interpolation", "nearest, x2", "report-code", "-"),
    Part("mask tail", "1x1, 1x1 with biases and no BN, sigmoid", "report-code", "section 3.3"),
    Part("attention residual learning", "H = (1 + M) T", "report", "section 3.3, Eq. 1"),
    Part("naive attention learning", "H = M T", "report", "Table 6"),
    Part("Residual Inception Unit", "option unit=inception, off by default", "report",
         "section 3.2", "described in the prose, nowhere in the code"),
    Part("Residual Inception Unit, form", "branches as wide as the bottleneck on a shared BN-ReLU, "
         "BN-ReLU between the two 1x1 and before the projection", "inferred", "section 3.2",
         "the prose names the branches only; this keeps the depth of 3 layers"),
    Part("head", "4x4 average, dropout, linear; no BN-ReLU before", "report-code", "Table 5",
         "the networks of Wang et al. end in one: option head_norm"),
    Part("average pool at other sizes", "mean over what is left", "inferred", "Table 5",
         "the same thing at 32 px"),
    Part("dropout", "0.4", "report-code", "Table 5",
         "not published; the trained Attention-56 ARL had none, which as_trained restores"),
    Part("initialisation", "Glorot uniform, biases 0", "report-code", "-", "Keras default"),
    Part("BN eps", "1e-3", "report-code", "-", "Keras default"),
    Part("BN momentum", "0.01 for the new batch", "report-code", "-", "Keras default, 0.99 there"),
)
# fmt: on

FAMILY = Family(
    Report2019,
    build,
    needs,
    authors="the 2019 report",
    usual=USUAL,
    zoo=ZOO,
    layers=LAYERS,
    provenance=PROVENANCE,
)
