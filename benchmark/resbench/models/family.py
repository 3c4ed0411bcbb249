"""What a network family declares. Imports no torch, because plans and reports need only facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from torch import nn

Origin = Literal["paper", "paper-code", "report", "report-code", "inferred", "deviation"]
"""The source's text; its authors' code and logs; nowhere, chosen here; deliberately different."""


class Network(msgspec.Struct, tag_field="family", frozen=True, forbid_unknown_fields=True):
    """One network: its family, its name and width, and in a subclass the family's own options.

    A subclass has ``tag="FAMILY"``, the name of the family, and no defaults: a run states
    everything that can change its result. Only an option that came after the family's first runs
    has one, what networks were before it, and ``omit_defaults``: so the keys of those runs stay.
    ``name`` is a Literal of the family's networks.
    """

    name: str
    width: Annotated[float, Meta(gt=0, le=4)]
    """Multiplies every channel number but the image's and the classes'."""

    @property
    def family(self) -> str:
        """Which subclass it is."""
        return str(self.__struct_config__.tag)


@dataclass(frozen=True)
class Part:
    """A part of an architecture: its value, where it comes from, and why if that is in doubt."""

    item: str
    value: str
    origin: Origin
    place: str
    """Section, table or file of the source; for an inferred choice, the nearest hint there."""
    reason: str = ""


@dataclass(frozen=True)
class ZooEntry:
    """One row of the zoo: a network, its expected size at full width, and the published one."""

    family: str
    name: str
    options: Mapping[str, Any] = field(hash=False)
    """That differ from the family's usual ones."""
    label: str
    parameters_10: int
    """Trainable parameters with 10 classes."""
    parameters_100: int
    macs_m: float
    """Millions a 32x32 image, see :func:`resbench.models.count.count_macs`."""
    published: str | None
    """Parameters as the source publishes them, where it does."""
    trunk_depth: int
    """Weighted layers from image to logits, past masks and shortcuts."""
    with_bn_statistics_10: int | None = None
    """Count with running means and variances, which is what the report quotes."""
    note: str | None = None


@dataclass(frozen=True)
class Family:
    """A family of networks: how they are built, and where every choice comes from."""

    network: type[Network]
    """The options that a run states."""
    build: Callable[[Any, int, Any], nn.Sequential]
    """From a network, a number of classes and :class:`resbench.models.layers.Settings`: a model of
    (B, 3, H, W) with logits (B, classes), whose children are the rows of its architecture table.
    It imports torch itself, so that declaring a family does not."""
    needs: Callable[[Any, int], str | None] = lambda _network, _px: None
    """Which image sides a network needs, in words, where it cannot take those of so many px."""
    authors: str = "the user"
    """Whose networks these are, in headings."""
    usual: Mapping[str, Any] = field(default_factory=dict)
    """The options that rows of the zoo leave out. Runs leave out none."""
    zoo: tuple[ZooEntry, ...] = ()
    layers: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)
    """Layer and output size of a network, by row of a published architecture table."""
    provenance: tuple[Part, ...] = ()
    code: str | None = None
    """sha256 of the user's file that declares it; None for a family of resbench."""

    @property
    def name(self) -> str:
        """The family's name in suites."""
        return str(self.network.__struct_config__.tag)

    def of(self, name: str, width: float, options: Mapping[str, Any]) -> Network:
        """Return a network; options that are not given are the usual ones.

        Raises:
            ValueError: an unknown name or option, or a value that it cannot have.
        """
        given = {"family": self.name, "name": name, "width": width, **self.usual, **options}
        try:
            return msgspec.convert(given, self.network)
        except ValueError as error:
            raise ValueError(f"no such network of the family '{self.name}': {error}") from None
