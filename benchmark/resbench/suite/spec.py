"""What decides a result: the run specification and its key.

A :class:`RunSpec` has no defaults. Every setting that can change a result is written in a suite, a
protocol or a tier file, arrives here, and enters the key; what the code fixes, such as Adam's
betas, enters it by NUMERICS. The same run asked for by two tables therefore has one key and is
trained once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
)

import msgspec
from msgspec import Meta

from resbench.datasets import DATA_SETS
from resbench.models import FAMILIES, Network

NUMERICS = 2
"""Raise it by hand whenever the same specification gives other numbers than before."""

Engine = Literal["eager", "graph", "graph+compile"]
Precision = Literal["fp32", "bf16"]
Normalise = Literal["mean_image", "channel_mean_std", "channel_mean_std_per_split", "none"]
if TYPE_CHECKING:
    DataName = str
else:
    DataName = Literal[tuple(DATA_SETS)]


Ratio = Annotated[float, Meta(ge=0, le=1)]
PositiveNumber = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
PositiveInt = Annotated[int, Meta(gt=0)]
Seed = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Kind = TypeVar("_Kind")


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))  # what mypy misses
class Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every specification: immutable, no unknown keys. :func:`plain_to` checks values."""


def plain_to(kind: type[_Kind], value: Any) -> _Kind:
    """Return plain values as ``kind``, checked as the JSON that they are: strictly, without NaN.

    Raises:
        ValueError: they are not; ``str`` names the first one at fault.
    """
    text = json.dumps(value, allow_nan=False)
    try:
        return msgspec.json.decode(text, type=kind)
    except ValueError:
        raise
    except Exception as error:  # of a rule in a user's networks.py
        raise ValueError(str(error)) from error


def whole(owner: Frozen, name: str) -> None:
    """Store the PositiveNumber 150.0 as 150, so that one specification has one key."""
    value = getattr(owner, name)
    if isinstance(value, float) and value.is_integer():
        msgspec.structs.force_setattr(owner, name, int(value))


if TYPE_CHECKING:
    Model = Network
else:
    Model = Union[tuple(family.network for family in FAMILIES.values())]  # noqa: UP007


class Data(Frozen):
    """Which images, which of them, and how their training labels are corrupted."""

    name: DataName
    id: str
    """Content identity: ``sha256:`` of pixels and labels, whatever their container and order."""
    image_px: PositiveInt | None
    """Side length after average pooling; null keeps the native size."""
    first: PositiveInt | None
    """Keep the first N training images in canonical order, which is as good as random."""
    train_images: PositiveInt | None
    """Stratified subset of the training images; null keeps all."""
    test_images: PositiveInt | None
    clean_ratio: Ratio
    """Probability r that a training label stays as it is (Wang et al. 2017, 4.1)."""
    noise: Literal["fixed", "redrawn"]
    """Corrupted labels are drawn once per seed, or again every epoch (a diagnostic)."""

    @property
    def train_size(self) -> int:
        """Training images of a run, as the published data set has them."""
        return DATA_SETS[self.name].train_subset(self.first, self.train_images)

    @property
    def test_size(self) -> int:
        """Test images of a run."""
        return self.test_images or DATA_SETS[self.name].test_images


class Augment(Frozen):
    """Random transformation of training images, with the parameters of every kind."""

    kind: Literal["none", "crop_flip", "affine"]
    pad_px: Annotated[int, Meta(ge=0, le=16)]
    """Zeros added on each side (crop_flip)."""
    flip: bool
    """Whether half the images are mirrored (crop_flip and affine)."""
    rotation_deg: Annotated[float, Meta(ge=0, le=180)]
    """Rotation by up to so many degrees to either side (affine)."""
    shift: Ratio
    """Shift along each axis by up to this fraction of the size (affine)."""
    zoom: Annotated[float, Meta(ge=0, lt=1)]
    """Scale of each axis, independently, in ``1 - zoom .. 1 + zoom`` (affine)."""


class Optim(Frozen):
    """Optimizer; ``weight_decay`` is the coupled L2 form (added to the gradient)."""

    name: Literal["sgd", "adam"]
    lr: PositiveNumber
    momentum: Annotated[float, Meta(ge=0, lt=1)]
    nesterov: bool
    weight_decay: NonNegative
    decay: Literal["all", "conv_fc", "fc"]
    """Which parameters decay: all, convolution and FC kernels, or the last FC kernel."""


class Drop(Frozen):
    """At ``at`` units of the schedule the learning rate is multiplied by ``factor``."""

    at: PositiveNumber
    factor: PositiveNumber

    def __post_init__(self) -> None:
        whole(self, "at")


class Warmup(Frozen):
    """One constant learning rate before the schedule proper, not a linear rise."""

    until: PositiveNumber
    lr: PositiveNumber

    def __post_init__(self) -> None:
        whole(self, "until")


class Schedule(Frozen):
    """Length and learning-rate steps, in the unit in which the source states them."""

    unit: Literal["step", "epoch"]
    total: PositiveNumber
    drops: tuple[Drop, ...]
    warmup: Warmup | None

    def __post_init__(self) -> None:
        whole(self, "total")
        drops = [drop.at for drop in self.drops]
        if drops != sorted(drops):
            raise ValueError("a drop comes before the one above it; put them in order", "drops")
        if max(drops, default=0) > self.total:
            text = f"a drop at {max(drops)} comes after the end, the total of {self.total}"
            raise ValueError(text, "drops")
        first = min(drops, default=self.total)
        if self.warmup and self.warmup.until > first:
            text = f"the warm-up until {self.warmup.until} ends after the first drop or the end"
            raise ValueError(f"{text}, at {first}", "warmup")


class EarlyStopping(Frozen):
    """Stop when ``val_in_train_err`` has not improved for ``patience`` epochs."""

    patience: PositiveInt


class Training(Frozen):
    """Everything between the data and the network."""

    batch_size: PositiveInt
    augment: Augment
    normalise: Normalise
    init: Literal["he", "glorot"]
    bn_eps: PositiveNumber
    bn_momentum: Annotated[float, Meta(gt=0, le=1)]
    """Weight of the new batch in the running statistics (torch's sense; Keras 0.99 is 0.01)."""
    optim: Optim
    schedule: Schedule
    early_stopping: EarlyStopping | None
    val_in_train: Annotated[int, Meta(ge=0)]
    """The last N images of the training set, evaluated although they are trained on."""

    def __post_init__(self) -> None:
        if self.early_stopping and not self.val_in_train:
            raise ValueError("early_stopping watches val_in_train, which must be greater than 0")


class RunSpec(Frozen):
    """Everything that decides the result of one run."""

    model: Model
    data: Data
    training: Training
    tier: str
    """The scale of the experiment; ``paper`` is the source's own."""
    scale: Annotated[float, Meta(gt=0, le=1)]
    """1. Runs of earlier versions had shorter schedules by it, without a tier."""
    engine: Engine
    precision: Precision
    seed: Seed

    def canonical(self) -> dict[str, Any]:
        """Plain JSON values, every field present; a set in the order of its items."""
        plain = msgspec.to_builtins(self, order="deterministic")
        return json.loads(json.dumps(plain, allow_nan=False))

    @property
    def key(self) -> str:
        """64 hex digits: sha256 of the canonical JSON and the numerics version."""
        return key_of(self.canonical())


@cache
def specification(own: type[Network]) -> type[RunSpec]:
    """Return :class:`RunSpec` with one more kind of network, that of a user's ``networks.py``."""
    model = ("model", Union[Model, own])  # noqa: UP007
    kind: Any = msgspec.defstruct("RunSpec", [model], bases=(RunSpec,), module=__name__)
    return kind


@cache
def setting_paths() -> tuple[str, ...]:
    """Return the dotted path of every setting, with those of all families of networks."""
    return tuple(dict.fromkeys(_paths(RunSpec)))


def _paths(kind: Any, prefix: str = "") -> Iterator[str]:
    for part in () if get_origin(kind) is tuple else get_args(kind):  # a list is one setting
        yield from _paths(part, prefix)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from [f"{prefix}family"] if issubclass(kind, Network) else []
        for field in msgspec.structs.fields(kind):
            yield f"{prefix}{field.name}"
            yield from _paths(field.type, f"{prefix}{field.name}.")


def dotted(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of a canonical specification by the names that ``--set`` takes."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def key_of(canonical: dict[str, Any], numerics: int = NUMERICS) -> str:
    """Return the run key of a canonical specification.

    Numbers are compared by value: ``1`` and ``1.0`` in a float field are one specification because
    :func:`plain_to` has made both floats before they arrive here.
    """
    text = json.dumps(
        {"numerics": numerics, "spec": canonical},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def derive_seed(seed: int, purpose: str, *parts: int) -> int:
    """Return an independent 63-bit seed for one purpose of a run.

    Arms compared at one seed share every purpose (``order``, ``augment``, ``noise``, ...), so they
    see the same images in the same order with the same corrupted labels. Epoch numbers go into
    ``parts``: the random state of an epoch never depends on how the run arrived there.
    """
    text = ":".join(["resbench", str(seed), purpose, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
