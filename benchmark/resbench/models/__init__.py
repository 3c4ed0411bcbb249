"""The networks, a family a file. Importing this package imports no torch.

What a family declares is plain data; torch is imported when a network is built. To add a family,
write its file and add it to :data:`FAMILIES`. A user's own is a ``networks.py`` next to the suite.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from msgspec import defstruct
from msgspec.structs import fields, replace

from resbench.models import he2016, report2019, wang2017
from resbench.models.family import Family, Network, ZooEntry

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "FAMILIES", "ZOO", "Family", "Network", "ZooEntry",
    "build", "family_of", "own_family", "zoo_entry",
]  # fmt: skip

FAMILIES: Mapping[str, Family] = {
    family.name: family for family in (wang2017.FAMILY, he2016.FAMILY, report2019.FAMILY)
}
ZOO = tuple(entry for family in FAMILIES.values() for entry in family.zoo)

_TAKEN = {"bn_eps", "bn_momentum", "code", "num_classes"}
"""What :func:`build` takes next to a network's options."""
_OWN: dict[str, Family] = {}
"""The user's families that this process has loaded, by the sha256 of their file."""


def own_family(file: Path) -> Family:
    """Run a user's ``networks.py`` and return its ``FAMILY``, with the sha256 of the file.

    Its networks have one more option, ``code``, which is that sha256: two versions of the file are
    two experiments. Only this file is hashed, so it cannot import files next to it.

    Raises:
        ValueError: the file has no FAMILY, or one with a name or an option that it may not have.
        Exception: whatever the file raises.
    """
    source = file.read_bytes()
    code = hashlib.sha256(source).hexdigest()
    if code not in _OWN:
        module = ModuleType(f"networks_{code[:16]}")
        sys.modules[module.__name__] = module  # its own annotations are looked up there
        module.__file__ = str(file)
        exec(compile(source, str(file), "exec", dont_inherit=True), vars(module))
        family = getattr(module, "FAMILY", None)
        if not isinstance(family, Family):
            raise ValueError("it has no FAMILY, an instance of resbench.models.Family")
        if family.name in FAMILIES:
            raise ValueError(f"'{family.name}' is a family of resbench: give it another tag")
        if taken := sorted(_TAKEN & set(family.network.__struct_fields__)):
            raise ValueError(f"'{taken[0]}' cannot be the name of an option: give it another")
        if not re.fullmatch(r"[a-z0-9_-]{1,64}", str(family.name)):
            raise ValueError(f"tag={family.name!r}: use small letters, digits, - and _")
        for option in fields(family.network):
            if not option.required:  # reports would say that the source states it
                raise ValueError(f"'{option.name}' has a default: delete it, protocols say all")
        network: Any = defstruct(
            family.network.__name__, [("code", str)], bases=(family.network,), tag=family.name,
            frozen=True, kw_only=True,
        )  # fmt: skip
        _OWN[code] = Family(
            network, family.build, family.needs, family.authors, family.usual, code=code
        )
    return _OWN[code]


def build(
    family: str,
    name: str,
    *,
    num_classes: int = 10,
    width: float = 1.0,
    bn_eps: float = 1e-5,
    bn_momentum: float = 0.1,
    **options: Any,
) -> nn.Sequential:
    """Build a network for RGB images; its logits are (B, num_classes).

    Weights are torch's defaults until ``initialize`` draws them from a generator. Inside
    ``with torch.device("meta")`` nothing is allocated. Options of the family that are not given are
    the usual ones; ``code`` among them means the user's family. For ``width``, ``bn_eps`` and
    ``bn_momentum`` see :class:`resbench.models.layers.Settings`.

    Raises:
        ValueError: unknown family, name or option, or a value out of range; a user's ``build`` that
            returns no network, or one that ignores ``bn_eps`` or ``bn_momentum``.
    """
    from resbench.models.layers import Settings

    known = {**FAMILIES, **{f.name: f for f in _OWN.values() if f.code == options.get("code")}}
    if family not in known:
        raise ValueError(f"unknown family '{family}'. Allowed: {', '.join(known)}.")
    network = known[family].of(name, width, options)
    settings = Settings(width=width, bn_eps=bn_eps, bn_momentum=bn_momentum)
    model = known[family].build(network, num_classes, settings)
    if known[family].code:
        _check_own(model, bn_eps, bn_momentum)
    return model


def _check_own(model: object, eps: float, momentum: float) -> None:
    """Refuse a user's network that is none, or normalises otherwise than its runs say."""
    from torch.nn import Module
    from torch.nn.modules.batchnorm import _BatchNorm

    if not isinstance(model, Module):
        raise ValueError(f"networks.py: build returns {type(model).__name__}, not an nn.Module")
    for name, part in model.named_modules():
        if isinstance(part, _BatchNorm) and (part.eps, part.momentum) != (eps, momentum):
            raise ValueError(
                f"networks.py: '{name}' has eps {part.eps} and momentum {part.momentum}, the run "
                f"{eps} and {momentum}. Build it with settings.bn_eps and settings.bn_momentum"
            )


def family_of(network: Network) -> Family:
    """Return the family of a network; that of a user's has been loaded by this process."""
    return FAMILIES.get(network.family) or _OWN[getattr(network, "code", "")]


def zoo_entry(network: Network) -> ZooEntry | None:
    """Return the row of a network, whatever its width; None where the zoo has none of its size."""
    if network.family not in FAMILIES:
        return None
    family, as_large = FAMILIES[network.family], [network]
    # ARL adds the trunk's output and no parameter: NAL is as large, but for the report's code as
    # trained, where the two have different layers.
    if getattr(network, "learning", None) == "nal" and not getattr(network, "as_trained", False):
        as_large.append(replace(network, learning="arl"))
    for row in family.zoo:
        if family.of(row.name, network.width, row.options) in as_large:
            return row
    return None
