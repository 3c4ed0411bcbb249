"""A network measured without being trained or stored: its rows as architecture tables print them.

It is built on the meta device, which keeps shapes and no numbers, so counting costs no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from resbench.models.attention import AttentionModule
from resbench.models.units import GlobalMean, ResidualUnit
from resbench.models.zoo import (
    build,
    count_macs,
    count_parameters,
    count_with_bn_statistics,
    output_sizes,
    trunk_depth,
)


@dataclass(frozen=True)
class Row:
    """One row of an architecture table, as built."""

    name: str
    layer: str
    """In the notation of the report's Table 5: ``5x5x32, stride=1``, ``(32,32,128)``, ``x2``."""
    size: str
    """Output height x width x channels, or classes."""


@dataclass(frozen=True)
class Size:
    """What can be counted on one network without running it."""

    parameters: int
    with_bn_statistics: int
    trunk_depth: int


def size(family: str, name: str, **options: Any) -> Size:
    """Count a network; arguments and errors as of ``build``."""
    model = _on_meta(family, name, **options)
    return Size(count_parameters(model), count_with_bn_statistics(model), trunk_depth(model))


def macs(family: str, name: str, *, image_px: int = 32, **options: Any) -> int:
    """Return multiply-accumulates of one image, forward, as ``count_macs`` counts them."""
    return count_macs(_on_meta(family, name, **options), image_px)


def architecture(family: str, name: str, *, image_px: int = 32, **options: Any) -> tuple[Row, ...]:
    """Return a network's rows in order; arguments and errors as of ``build``."""
    model = _on_meta(family, name, **options)
    # A forward pass on the meta device imports torch's decompositions and sympy, for a second;
    # to_empty does as well.
    on_cpu = _built(family, name, **options)
    empty = {field: torch.empty(tensor.shape) for field, tensor in on_cpu.state_dict().items()}
    on_cpu.load_state_dict(empty, assign=True)
    stages = output_sizes(on_cpu, image_px)
    inputs = [(image_px, image_px, 3), *(stage.size for stage in stages[:-1])]
    return tuple(
        Row(stage.row, _layer(layer, before), str(stage))
        for stage, layer, before in zip(stages, model.children(), inputs, strict=True)
    )


@lru_cache(maxsize=4)
def _on_meta(family: str, name: str, **options: Any) -> nn.Sequential:
    return _built(family, name, **options)


def _built(family: str, name: str, **options: Any) -> nn.Sequential:
    # In evaluation batch normalisation is half the work, and nothing measured here changes.
    with torch.device("meta"):
        return build(family, name, **options).eval()


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
