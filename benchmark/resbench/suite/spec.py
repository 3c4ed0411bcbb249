"""What decides a result: the run specification and its key.

A :class:`RunSpec` has no defaults. Every number that can change a result is written in a suite, a
protocol or a tier file, arrives here, and enters the key; nothing else does. The same run asked for
by two tables therefore has one key and is trained once.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

NUMERICS = 1
"""Bumped by hand whenever the same specification would give other numbers than before."""

Engine = Literal["eager", "graph", "graph+compile"]
Precision = Literal["fp32", "bf16"]
DataName = Literal["cifar10", "cifar100", "digits"]


def _whole(value: int | float) -> int | float:
    """One specification has one spelling: 150.0 is 150."""
    return int(value) if float(value).is_integer() else value


Ratio = Annotated[float, Field(ge=0, le=1)]
PositiveNumber = Annotated[int | float, Field(gt=0), AfterValidator(_whole)]
PositiveInt = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Frozen(BaseModel):
    """Base of every specification: immutable, strict, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WangModel(Frozen):
    """A CIFAR network of Wang et al. 2017, section 4.1."""

    family: Literal["wang2017"]
    name: Literal[
        "attention-56",
        "attention-92",
        "attention-128",
        "attention-164",
        "attention-236",
        "attention-452",
    ]
    learning: Literal["arl", "nal"]
    mask: Literal["encoder-decoder", "local", "local_same_units"]
    activation: Literal["mixed", "channel", "spatial"]
    width: Annotated[float, Field(gt=0, le=4)]


class HeModel(Frozen):
    """The pre-activation ResNet of He et al. 2016 (arXiv:1603.05027)."""

    family: Literal["he2016"]
    name: Literal["resnet-164"]
    width: Annotated[float, Field(gt=0, le=4)]


class ReportModel(Frozen):
    """A network of the 2019 report, Table 5 and its authors' code."""

    family: Literal["report2019"]
    name: Literal["attention-56", "attention-92"]
    learning: Literal["arl", "nal"]
    unit: Literal["residual", "inception"]
    fix_trunk: bool
    as_trained: bool
    dropout: Annotated[float, Field(ge=0, lt=1)]
    width: Annotated[float, Field(gt=0, le=4)]


Model = Annotated[WangModel | HeModel | ReportModel, Field(discriminator="family")]


class Data(Frozen):
    """Which images, which of them, and how their training labels are corrupted."""

    name: DataName
    id: str
    """Content identity: ``md5:`` of a published archive, or ``sha256:`` of pixels and labels."""
    image_px: PositiveInt | None
    """Side length after average pooling; null keeps the native size."""
    first: PositiveInt | None
    """Keep the first N training images in file order."""
    train_images: PositiveInt | None
    """Stratified subset of the training images; null keeps all."""
    test_images: PositiveInt | None
    clean_ratio: Ratio
    """Probability r that a training label stays as it is (Wang et al. 2017, 4.1)."""
    noise: Literal["fixed", "redrawn"]
    """Corrupted labels drawn once a seed, or anew every epoch (a diagnostic)."""


class Augment(Frozen):
    """Random transformation of training images."""

    kind: Literal["none", "crop_flip", "affine"]
    pad_px: Annotated[int, Field(ge=0, le=16)]
    flip: bool
    rotation_deg: Annotated[float, Field(ge=0, le=180)]
    shift: Ratio
    zoom: Annotated[float, Field(ge=0, lt=1)]


class Optim(Frozen):
    """Optimizer; ``weight_decay`` is the coupled L2 form (added to the gradient)."""

    name: Literal["sgd", "adam"]
    lr: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    nesterov: bool
    weight_decay: Annotated[float, Field(ge=0)]
    decay: Literal["all", "conv_fc", "fc"]
    """Which parameters decay: all, convolution and FC kernels, or the last FC kernel."""


class Drop(Frozen):
    """At ``at`` units of the schedule the learning rate is multiplied by ``factor``."""

    at: PositiveNumber
    factor: Annotated[float, Field(gt=0)]


class Warmup(Frozen):
    """A constant learning rate before the schedule proper."""

    until: PositiveNumber
    lr: Annotated[float, Field(gt=0)]


class Schedule(Frozen):
    """Length and learning-rate steps, in the unit in which the source states them."""

    unit: Literal["step", "epoch"]
    total: PositiveNumber
    drops: tuple[Drop, ...]
    warmup: Warmup | None


class EarlyStopping(Frozen):
    """Stop when ``val_in_train_err`` has not improved for ``patience`` epochs."""

    patience: PositiveInt


class Training(Frozen):
    """Everything between the data and the network."""

    batch_size: PositiveInt
    augment: Augment
    normalise: Literal["mean_image", "channel_mean_std", "channel_mean_std_per_split", "none"]
    init: Literal["he", "glorot"]
    bn_eps: Annotated[float, Field(gt=0)]
    bn_momentum: Annotated[float, Field(gt=0, le=1)]
    """Weight of the new batch in the running statistics (torch's sense; Keras 0.99 is 0.01)."""
    optim: Optim
    schedule: Schedule
    early_stopping: EarlyStopping | None
    val_in_train: Annotated[int, Field(ge=0)]
    """The last N images of the training set, evaluated although they are trained on."""

    @model_validator(mode="after")
    def _watches_something(self) -> Training:
        if self.early_stopping and not self.val_in_train:
            raise ValueError("early_stopping watches val_in_train, which must be greater than 0")
        return self


class RunSpec(Frozen):
    """Everything that decides a result, one seed."""

    model: Model
    data: Data
    training: Training
    tier: str
    scale: Annotated[float, Field(gt=0, le=1)]
    engine: Engine
    precision: Precision
    seed: Seed

    def canonical(self) -> dict[str, Any]:
        """Plain JSON values, every field present."""
        return self.model_dump(mode="json")

    @property
    def key(self) -> str:
        """64 hex digits: sha256 of the canonical JSON and the numerics version."""
        return key_of(self.canonical())


def key_of(canonical: dict[str, Any], numerics: int = NUMERICS) -> str:
    """Return the run key of a canonical specification.

    Numbers are compared by value: ``1`` and ``1.0`` in a float field are one specification because
    pydantic has made both floats before they arrive here.
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
