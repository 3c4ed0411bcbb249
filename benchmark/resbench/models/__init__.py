"""The networks of both sources, by name. Importing this package imports no torch until needed.

The catalogue (names, options, expected sizes) and the provenance of every choice are plain data;
what needs torch is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from resbench.models.catalogue import NETWORKS, OPTIONS, ZOO, ZooEntry, resolve_options
from resbench.models.provenance import PROVENANCE, Mark

if TYPE_CHECKING:
    from resbench.models.init import initialize
    from resbench.models.units import ResidualUnit
    from resbench.models.zoo import (
        StageSize,
        build,
        count_macs,
        count_parameters,
        count_with_bn_statistics,
        output_sizes,
        residual_units,
        trunk_depth,
    )

__all__ = [
    "NETWORKS",
    "OPTIONS",
    "PROVENANCE",
    "ZOO",
    "Mark",
    "ResidualUnit",
    "StageSize",
    "ZooEntry",
    "build",
    "count_macs",
    "count_parameters",
    "count_with_bn_statistics",
    "initialize",
    "output_sizes",
    "residual_units",
    "resolve_options",
    "trunk_depth",
]

_HOMES = {"initialize": "init", "ResidualUnit": "units"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'zoo')}"), name)
