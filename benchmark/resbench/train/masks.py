"""What a trained network makes of test images, stage by stage: features, soft masks, outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from msgspec import structs
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from resbench.data.images import Images
from resbench.datasets import DATA_SETS, DataSet
from resbench.errors import EnvironmentFault, UsageError
from resbench.models.attention import AttentionModule
from resbench.store.layout import RunFolder
from resbench.store.records import RunRecord, read_weights
from resbench.suite.spec import RunSpec, plain_to
from resbench.train.lane import Lane
from resbench.train.prepare import prepare_images

Maps = npt.NDArray[np.float32]
"""[N, H, W]: an image's features, each position averaged over the channels."""


@dataclass(frozen=True, eq=False)
class StageMaps:
    """The last Attention Module of a stage."""

    trunk: Maps
    mask: Maps
    output: Maps
    """What the module hands on, ``M * T`` or ``(1 + M) * T``."""


@dataclass(frozen=True, eq=False)
class Observed:
    """N test images and what one network makes of them."""

    images: npt.NDArray[np.uint8]
    """[N, H, W, 3], as the network sees them but for normalisation."""
    true: tuple[str, ...]
    """Names of classes."""
    predicted: tuple[str, ...]
    stages: tuple[StageMaps, ...]


def observe(run: RunFolder, record: RunRecord, images: Images, rows: Sequence[int]) -> Observed:
    """Show test images to a run's network with its final weights, on the CPU.

    Args:
        run: its folder, with the weights.
        record: its record.
        images: the data set that it was trained on.
        rows: positions among its test images, as in its predictions.

    Raises:
        UsageError: a row that is not there, or a network without Attention Modules.
        EnvironmentFault: its weights were not kept, or are not those that were recorded.
    """
    weights, name = read_weights(run, record), record.key[:16]
    if weights is None:
        kept = run.weights.name in record.files
        raise EnvironmentFault(
            f"{run.weights}: missing. "
            + ("Copy it from where the run was trained." if kept else
               "The run was trained without --keep-weights: train it into another folder, with "
               "--results DIR --keep-weights.")
        )  # fmt: skip
    lane = Lane(_spec(record), prepare_images(_spec(record), images), torch.device("cpu"))
    modules = _last_of_each_stage(lane.model)
    if not modules:
        raise UsageError(f"run {name}: its network has no Attention Module, so no mask to draw.")
    tested = lane.images
    for row in rows:
        if not 0 <= row < len(tested.test_images):
            last = len(tested.test_images) - 1
            raise UsageError(f"--images {row}: run {name} has test images 0 to {last}.")
    try:
        lane.model.load_state_dict(load(weights))
    except (RuntimeError, SafetensorError) as error:
        first = next(iter(str(error).splitlines()))
        raise EnvironmentFault(f"{run.weights}: does not fit the network ({first}).") from error
    chosen = list(rows)
    logits_NK, stages = _forward(lane, tested.test_images, chosen, modules)
    named = class_names(images, DATA_SETS[record.data.name])
    return Observed(
        tested.test_images[chosen],
        tuple(named[label] for label in tested.test_labels[chosen]),
        tuple(named[label] for label in logits_NK.argmax(1).tolist()),
        stages,
    )


def class_names(images: Images, known: DataSet) -> tuple[str, ...]:
    """Return the names of an image's classes by label: of the published images, their own."""
    published = images.fingerprint == known.fingerprint  # which covers the labels
    return (published and known.class_names) or images.class_names


def _spec(record: RunRecord) -> RunSpec:
    try:
        spec = plain_to(RunSpec, record.spec)
    except ValueError as error:
        raise UsageError(
            f"run {record.key[:16]}: masks are drawn of resbench's own networks only."
        ) from error
    return structs.replace(spec, engine="eager")  # the graph engines need a GPU


def _last_of_each_stage(model: nn.Module) -> list[AttentionModule]:
    """Return the modules that the record's signals are about."""
    parts = ([m for m in part.modules() if isinstance(m, AttentionModule)]
             for part in model.children())  # fmt: skip
    return [modules[-1] for modules in parts if modules]


@torch.inference_mode()
def _forward(
    lane: Lane, images: npt.NDArray[np.uint8], rows: list[int], modules: list[AttentionModule]
) -> tuple[Tensor, tuple[StageMaps, ...]]:
    """Return logits [N, K] of the images at ``rows``, and what the modules made of them."""
    seen: list[dict[str, Maps]] = [{} for _ in modules]
    handles = []
    for module, into in zip(modules, seen, strict=True):
        # What goes into the units after the module's product is what the module hands on.
        handles += [
            module.trunk.register_forward_hook(_note(into, "trunk")),
            module.mask.register_forward_hook(_note(into, "mask")),
            module.after.register_forward_pre_hook(
                lambda _, arguments, into=into: into.update(output=_mean(arguments[0]))
            ),
        ]
    lane.model.eval()
    statistics = lane.pipeline.statistics_for(images)
    logits_NK = lane.eval_logits(lane.pipeline.normalise_eval(images[rows], statistics))
    for handle in handles:
        handle.remove()
    return logits_NK, tuple(StageMaps(**maps) for maps in seen)


def _note(into: dict[str, Maps], name: str) -> Any:
    def hook(_: nn.Module, __: object, x_BCHW: Tensor) -> None:
        into[name] = _mean(x_BCHW)

    return hook


def _mean(x_BCHW: Tensor) -> Maps:
    return x_BCHW.float().mean(1).numpy()
