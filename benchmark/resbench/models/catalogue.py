"""Every network by name: what it is made of, its options, its expected size. Imports no torch.

MACs are per 32x32 image, forward, convolutions and the classifier only, in millions; parameters
are the trainable ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OptionValue = str | bool | float


@dataclass(frozen=True)
class ModulePlan:
    """How often a wang2017 network repeats its parts (Wang et al. 2017, section 3 and 4.1)."""

    m: int
    """Attention Modules in each of the three stages."""
    p: int = 1
    """Units before and after each module's branches."""
    t: int = 2
    """Units in the trunk branch."""
    r: int = 1
    """Units between two poolings of the mask branch."""


WANG2017 = {
    "attention-56": ModulePlan(m=1),
    "attention-92": ModulePlan(m=2),
    "attention-128": ModulePlan(m=3),
    "attention-164": ModulePlan(m=4),
    "attention-236": ModulePlan(m=6),
    "attention-452": ModulePlan(m=6, p=2, t=4, r=3),
}
HE2016 = {"resnet-164": 18}
"""Units in each of the three stages."""
REPORT2019 = {"attention-56": (1, 1, 1), "attention-92": (1, 2, 3)}
"""Attention Modules in stages 1, 2, 3."""

NETWORKS: Mapping[str, tuple[str, ...]] = {
    "wang2017": tuple(WANG2017),
    "he2016": tuple(HE2016),
    "report2019": tuple(REPORT2019),
}
AUTHORS: Mapping[str, str] = {
    "wang2017": "Wang et al. 2017",
    "he2016": "He et al. 2016",
    "report2019": "the 2019 report",
}
"""Whose networks a family's are."""


@dataclass(frozen=True)
class Option:
    """One option of a family; its default says its type."""

    default: OptionValue
    choices: tuple[str, ...] = ()
    """What a text option may be."""

    def accepts(self, value: object) -> bool:
        """Return whether ``value`` is allowed: one of the choices, a bool, or 0 <= number < 1."""
        if isinstance(self.default, str):
            return value in self.choices
        if isinstance(self.default, bool):
            return isinstance(value, bool)
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1

    @property
    def allowed(self) -> str:
        """What ``accepts`` accepts, in words."""
        if isinstance(self.default, str):
            return ", ".join(self.choices)
        return "true, false" if isinstance(self.default, bool) else "a number from 0 to below 1"


LEARNING = Option("arl", ("arl", "nal"))
OPTIONS: Mapping[str, Mapping[str, Option]] = {
    "wang2017": {
        "learning": LEARNING,
        "mask": Option("encoder-decoder", ("encoder-decoder", "local", "local_same_units")),
        "activation": Option("mixed", ("mixed", "channel", "spatial")),
    },
    "he2016": {},
    "report2019": {
        "learning": LEARNING,
        "unit": Option("residual", ("residual", "inception")),
        "skips": Option("code", ("code", "printed")),
        "fix_trunk": Option(False),
        "as_trained": Option(False),
        "batch_norm": Option(True),
        "dropout": Option(0.4),
    },
}


def resolve_options(family: str, name: str, options: Mapping[str, Any]) -> dict[str, OptionValue]:
    """Check a network's family, name and options; return the options with defaults filled in.

    Raises:
        ValueError: something is unknown or out of range; the message lists what is allowed.
    """
    if family not in NETWORKS:
        raise ValueError(f"unknown family '{family}'. Allowed: {', '.join(NETWORKS)}.")
    if name not in NETWORKS[family]:
        allowed = ", ".join(NETWORKS[family])
        raise ValueError(f"unknown network '{name}' in family '{family}'. Allowed: {allowed}.")
    known = OPTIONS[family]
    for key, value in options.items():
        if key not in known:
            allowed = ", ".join(known) or "none"
            raise ValueError(f"unknown option '{key}' of family '{family}'. Allowed: {allowed}.")
        if not known[key].accepts(value):
            raise ValueError(f"option '{key}' cannot be {value!r}. Allowed: {known[key].allowed}.")
    return {
        key: type(option.default)(options.get(key, option.default)) for key, option in known.items()
    }


@dataclass(frozen=True)
class ZooEntry:
    """One row of the zoo: a network, its expected size at full width, and what was printed."""

    family: str
    name: str
    options: Mapping[str, OptionValue] = field(hash=False)
    """Those that differ from the defaults; ``build(family, name, **options)`` builds the row."""
    label: str
    parameters_10: int
    parameters_100: int
    macs_m: float
    printed: str | None
    """Parameters as printed in the source, where they are."""
    trunk_depth: int
    with_bn_statistics_10: int | None = None
    """Count with running means and variances, which is what the report quotes."""
    note: str | None = None


# fmt: off
ZOO: tuple[ZooEntry, ...] = (
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
        note="unresolved: {p=2, t=4, r=3} and m=6 as printed do not give the printed size"),
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
    ZooEntry("he2016", "resnet-164", {}, "ResNet-164",
        1_703_258, 1_726_388, 247.6, "1.7 M", 164),
    ZooEntry("report2019", "attention-56", {}, "Attention-56",
        28_326_986, 28_419_236, 688.2, "28M", 47,
        with_bn_statistics_10=28_366_154,
        note="47 weighted layers on the trunk, not the printed 56"),
    ZooEntry("report2019", "attention-92", {}, "Attention-92",
        64_962_634, 65_054_884, 1241.9, "65M", 74,
        with_bn_statistics_10=65_040_202,
        note="74 weighted layers on the trunk, not the printed 92"),
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
)
# fmt: on

_STAGES = {
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
LAYERS: Mapping[tuple[str, str], Mapping[str, tuple[str, str]]] = {
    ("report2019", "attention-56"): _STAGES,
    ("report2019", "attention-92"): {
        **_STAGES,
        "stage2_attention": ("x2", "8x8x256"),
        "stage3_attention": ("x3", "4x4x512"),
    },
}
"""Layer and output size by row, in the notation of the report's Table 5; a test builds them."""


def zoo_entry(family: str, name: str, options: Mapping[str, OptionValue]) -> ZooEntry | None:
    """Return the row of a network with all its options; None where the zoo has none of its size.

    NAL is as large as ARL, which adds the trunk's output and no parameter; only the report's code
    as it was trained gave the two different layers.
    """
    found = {
        tuple(resolve_options(family, name, entry.options).items()): entry
        for entry in ZOO
        if (entry.family, entry.name) == (family, name)
    }
    as_large = {**options, "learning": "arl"} if not options.get("as_trained") else options
    keys = (tuple((key, how[key]) for key in OPTIONS[family]) for how in (options, as_large))
    return next((found[key] for key in keys if key in found), None)
