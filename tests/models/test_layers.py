"""The layers of Table 5, built: reports read them from the catalogue and build nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from torch import nn

from resbench.models import FAMILIES, build
from resbench.models.attention import AttentionModule
from resbench.models.count import output_sizes
from resbench.models.layers import GlobalMean, ResidualUnit

IMAGE_PX = 32
LAYERS = {
    (family.name, name): rows
    for family in FAMILIES.values()
    for name, rows in family.layers.items()
}


@pytest.mark.parametrize("network", LAYERS, ids=" ".join)
def test_the_catalogued_layers_and_sizes_are_those_of_the_network_as_built(
    network: tuple[str, str],
) -> None:
    model = build(*network, num_classes=10).eval()
    stages = output_sizes(model, IMAGE_PX)
    inputs = [(IMAGE_PX, IMAGE_PX, 3), *(stage.size for stage in stages[:-1])]
    built = {
        stage.row: (_layer(layer, before), str(stage))
        for stage, layer, before in zip(stages, model.children(), inputs, strict=True)
    }
    assert {row: built[row] for row in LAYERS[network]} == LAYERS[network]
    assert built.keys() - LAYERS[network].keys() == {"norm"}


def _layer(module: nn.Module, input_size: Sequence[int]) -> str:
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
        case ResidualUnit():
            return _widths(module)
        case nn.Sequential() if all(isinstance(part, ResidualUnit) for part in module):
            return f"{_widths(module[-1])} x{len(module)}"
        case nn.Sequential() if all(isinstance(part, AttentionModule) for part in module):
            return f"x{len(module)}"
        case _:
            return type(module).__name__


def _widths(unit: nn.Module) -> str:
    """Return the output channels of a unit's convolutions, those on its shortcut left out."""
    convs = [
        part
        for name, part in unit.named_modules()
        if isinstance(part, nn.Conv2d) and not name.startswith("shortcut")
    ]
    return f"({','.join(str(conv.out_channels) for conv in convs)})"
