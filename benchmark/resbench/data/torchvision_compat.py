"""Importing torchvision beside a torch that its binaries were not built for.

PyPI's torchvision is built for CUDA. Beside a CPU torch its operators fail to load, and its import
then fails on ``operator torchvision::nms does not exist``, although nothing used here needs them.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

from resbench.errors import EnvironmentFault

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # a declaration lives as long as its library object


@cache
def import_torchvision() -> ModuleType:
    """Import torchvision (2-3 s), declaring its operators first where they cannot be loaded.

    Raises EnvironmentFault where torchvision is not installed.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise EnvironmentFault("torchvision is not installed. Install resbench's dependencies.")
    for library in sorted(Path(spec.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(library)
        except OSError:
            continue
    if not hasattr(torch.ops.torchvision, "nms"):
        stub = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            stub.define(operator + _SIGNATURE)
        _declared.append(stub)
    return importlib.import_module("torchvision")
