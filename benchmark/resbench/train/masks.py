"""What the soft masks of a network do: sizes for every record, and maps of test images to draw.

Both look at the last Attention Module of each stage: its trunk T, its mask M, and what it hands on,
``M * T`` or ``(1 + M) * T``.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from msgspec import structs
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from resbench.data.images import Images
from resbench.datasets import DATA_SETS, DataSet
from resbench.errors import EnvironmentFault, UsageError
from resbench.models.attention import AttentionModule
from resbench.store.layout import RunFolder
from resbench.store.records import RunRecord, Signals, StageSignals, read_weights
from resbench.suite.spec import RunSpec, plain_to
from resbench.train.environment import without_fallbacks
from resbench.train.lane import Lane
from resbench.train.prepare import prepare_images

BATCHES, BATCH = 4, 64
"""Of the run's first training images, of which signals are measured."""
Maps = npt.NDArray[np.float32]
"""[N, H, W]: an image's features, each position averaged over the channels."""


@contextmanager
def _watched(
    modules: dict[str, AttentionModule], see: Callable[[str, str, Tensor], None]
) -> Iterator[None]:
    """Within, show ``trunk``, ``mask`` and ``output`` of each stage in every forward pass."""
    hooks = [_hooks(module, partial(see, stage)) for stage, module in modules.items()]
    yield
    for hook in itertools.chain(*hooks):
        hook.remove()


def _hooks(module: AttentionModule, see: Callable[[str, Tensor], None]) -> list[RemovableHandle]:
    return [
        module.trunk.register_forward_hook(lambda _, __, T_BCHW: see("trunk", T_BCHW)),
        module.mask.register_forward_hook(lambda _, __, M_BCHW: see("mask", M_BCHW)),
        # What goes into the units after the product is what the module hands on.
        module.after.register_forward_pre_hook(lambda _, inputs: see("output", inputs[0])),
    ]


def _last_of_each_stage(model: nn.Module) -> dict[str, AttentionModule]:
    found = {
        stage: [module for module in part.modules() if isinstance(module, AttentionModule)]
        for stage, part in model.named_children()
    }
    return {stage: modules[-1] for stage, modules in found.items() if modules}


# -- signals -------------------------------------------------------------------------------------


def measure_signals(lane: Lane, model: nn.Module) -> Signals | None:
    """Return the sizes of features, masks and gradients of ``model`` on the run's first images.

    Wang et al. 2017, section 3.1, explains the failure of naive attention by values that fade when
    masks between 0 and 1 are multiplied again and again; these numbers show whether they do.
    Measured without augmentation, in training mode (statistics of the batch), on a copy: the run
    itself sees nothing of it. All numbers are means over the batches.

    None for a network without Attention Modules, or where a number is not finite.
    """
    model = copy.deepcopy(model).train()
    modules = _last_of_each_stage(model)
    if not modules:
        return None
    seen: dict[str, dict[str, list[float]]] = {s: defaultdict(list) for s in modules}

    def see(stage: str, part: str, x_BCHW: Tensor) -> None:
        x_BCHW = x_BCHW.detach().float()
        if part == "mask":
            seen[stage]["mask_mean"].append(x_BCHW.mean().item())
            seen[stage]["mask_std"].append(x_BCHW.std(correction=0).item())
        else:
            name = "trunk_rms" if part == "trunk" else "product_rms"
            seen[stage][name].append(x_BCHW.square().mean().sqrt().item())

    norms = []
    stem = next(m for m in model.modules() if isinstance(m, nn.Conv2d)).weight
    images, labels = lane.images.train_images, lane.pipeline.labels
    on_gpu = [lane.device] if lane.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=on_gpu),
        _watched(modules, see),
        without_fallbacks(lane.device),
    ):
        torch.manual_seed(0)  # dropout
        # Without a last batch of one image, which has no statistics where maps are 1x1.
        for start in range(0, max(1, min(BATCHES * BATCH, len(images)) - 1), BATCH):
            x_BCHW = lane.pipeline.normalise_eval(images[start : start + BATCH])
            model.zero_grad()
            with lane.autocast():
                logits_BK = model(x_BCHW)
            F.cross_entropy(logits_BK.float(), labels[start : start + BATCH]).backward()
            assert stem.grad is not None
            norms.append(stem.grad.float().norm().item())
    stages = {
        stage: StageSignals(**{name: sum(values) / len(values) for name, values in sizes.items()})
        for stage, sizes in seen.items()
    }
    signals = Signals(stem_grad_norm=sum(norms) / len(norms), stages=stages)
    numbers = [signals.stem_grad_norm, *itertools.chain(*map(structs.astuple, stages.values()))]
    return signals if all(map(math.isfinite, numbers)) else None


# -- maps ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Observed:
    """N test images and what one network makes of them."""

    images: npt.NDArray[np.uint8]
    """[N, H, W, 3], as the network sees them but for normalisation."""
    true: tuple[str, ...]
    """Names of classes."""
    predicted: tuple[str, ...]
    stages: tuple[dict[str, Maps], ...]
    """Of the last Attention Module of each: ``trunk``, ``mask``, and the ``output`` of the two."""


def observe(run: RunFolder, record: RunRecord, images: Images, rows: Sequence[int]) -> Observed:
    """Show the test images at ``rows``, as in its predictions, to a run's network, on the CPU.

    With its final weights; ``images`` are the data set that it was trained on.

    Raises:
        UsageError: a row that is not there, or a network without Attention Modules.
        EnvironmentFault: its weights were not kept, or are not those that were recorded.
    """
    weights, name = read_weights(run, record), record.key[:16]
    if weights is None:
        raise EnvironmentFault(f"{run.weights}: missing. Copy it from where the run was trained.")
    spec = _spec(record)
    lane = Lane(spec, prepare_images(spec, images), torch.device("cpu"))
    modules = _last_of_each_stage(lane.model)
    if not modules:
        raise UsageError(f"run {name}: its network has no Attention Module, so no mask to draw.")
    tested, chosen = lane.images, list(rows)
    for row in chosen:
        if not 0 <= row < len(tested.test_images):
            last = len(tested.test_images) - 1
            raise UsageError(f"--images {row}: run {name} has test images 0 to {last}.")
    try:
        lane.model.load_state_dict(load(weights))
    except (RuntimeError, SafetensorError) as error:
        first = next(iter(str(error).splitlines()))
        raise EnvironmentFault(f"{run.weights}: does not fit the network ({first}).") from error
    maps: dict[str, dict[str, Maps]] = {stage: {} for stage in modules}

    def see(stage: str, part: str, x_BCHW: Tensor) -> None:
        maps[stage][part] = x_BCHW.float().mean(1).numpy()

    lane.model.eval()
    statistics = lane.pipeline.statistics_for(tested.test_images)
    with torch.inference_mode(), _watched(modules, see):
        x_BCHW = lane.pipeline.normalise_eval(tested.test_images[chosen], statistics)
        logits_NK = lane.eval_logits(x_BCHW)
    named = class_names(images, DATA_SETS[record.data.name])
    return Observed(
        tested.test_images[chosen],
        tuple(named[label] for label in tested.test_labels[chosen]),
        tuple(named[label] for label in logits_NK.argmax(1).tolist()),
        tuple(maps.values()),
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
