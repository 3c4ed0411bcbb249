"""The layers of Table 5, built: reports read them from the catalogue and build nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resbench.models import FAMILIES, build
from resbench.models.attention import AttentionModule
from resbench.models.layers import GlobalMean, ReportUnit, ResidualUnit

LAYERS = {
    (family.name, name): rows
    for family in FAMILIES.values()
    for name, rows in family.layers.items()
}


@pytest.mark.parametrize("network", LAYERS, ids=" ".join)
def test_the_catalogued_layers_and_sizes_are_those_of_the_network_as_built(
    network: tuple[str, str],
) -> None:
    built = {}
    with torch.device("meta"):
        x = torch.zeros(1, 3, 32, 32)
        for row, layer in build(*network).eval().named_children():
            before, x = x, layer(x)
            positions = x.shape[2:] or ((1, 1) if row != "fc" else ())
            size = "x".join(map(str, (*positions, x.shape[1])))
            built[row] = (_layer(layer, before.shape[2:]), size)
    assert {row: built[row] for row in LAYERS[network]} == LAYERS[network]
    conv, *later = LAYERS[network]
    assert list(built) == [conv, "norm", *later]


def test_attention_modules_stand_between_the_two_units_of_their_stage() -> None:
    with torch.device("meta"):
        rows = dict(build("wang2017", "attention-92").named_children())
    stages = [f"stage{n}_{part}" for n in (1, 2, 3) for part in ("in", "attention", "out")]
    assert list(rows) == ["stem", *stages, "norm", "avg_pool", "fc"]
    for row in stages:
        assert _layer(rows[row], torch.Size()) == ("x2" if "attention" in row else "PreActUnit")


def _layer(module: nn.Module, input_size: torch.Size) -> str:
    match module:
        case nn.Conv2d():
            side, stride = module.kernel_size[0], module.stride[0]
            return f"{side}x{side}x{module.out_channels}, stride={stride}"
        case nn.MaxPool2d():
            return f"{module.kernel_size}x{module.kernel_size} stride={module.stride}"
        case GlobalMean():  # an average pooling as large as its input
            return f"{input_size[0]}x{input_size[1]} stride=1"
        case nn.Dropout():
            return f"{module.p:g}"
        case nn.Linear():
            return f"{module.in_features} to {module.out_features}"
        case ReportUnit():
            return _widths(module)
        case nn.Sequential() if all(isinstance(part, ResidualUnit) for part in module):
            return f"{_widths(module[-1])} x{len(module)}"
        case nn.Sequential() if all(isinstance(part, AttentionModule) for part in module):
            return f"x{len(module)}"
    return type(module).__name__


def _widths(unit: nn.Module) -> str:
    """Return the output channels of a unit's convolutions, those on its shortcut left out."""
    parts = unit.get_submodule("residual").children()
    widths = (str(part.out_channels) for part in parts if isinstance(part, nn.Conv2d))
    return f"({','.join(widths)})"
