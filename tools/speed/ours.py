"""Our side: runs of the shipped suites on random images, in epochs of a few steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from msgspec.structs import replace

from resbench.analysis.declared import declared
from resbench.datasets import DATA_SETS
from resbench.suite.load import load_suite
from resbench.suite.spec import RunSpec, Schedule
from resbench.train.engine import make_engine
from resbench.train.lane import Lane
from resbench.train.prepare import Prepared

ATTENTION_56 = ("table1_arl_vs_nal", "attention-56/arl")
ATTENTION_92 = ("table1_arl_vs_nal", "attention-92/arl")
TINY = ("smoke", "mixed/arl")


def spec_of(cell: tuple[str, str], *, quick: bool = False, **changes: Any) -> RunSpec:
    """Return the run of a suite's cell, with a learning rate at which random images do no harm.

    ``quick`` makes the network narrow and the images small.
    """
    suite, name = cell
    spec = declared(load_suite(suite)).cell(name).at_seed(1)
    optim = replace(spec.training.optim, lr=1e-6)
    schedule = Schedule(unit="step", total=10**9, drops=(), warmup=None)
    batch_size = changes.pop("batch_size", spec.training.batch_size)
    training = replace(spec.training, optim=optim, schedule=schedule, batch_size=batch_size)
    if quick:
        changes["model"] = replace(spec.model, width=0.125)
        changes["data"] = replace(spec.data, image_px=8)
    return replace(spec, training=training, **changes)


def random_images(spec: RunSpec, n: int) -> Prepared:
    """Return ``n`` training and test images of random pixels in a run's shape."""
    random = np.random.default_rng(0)
    px = spec.data.image_px or DATA_SETS[spec.data.name].px
    images = random.integers(0, 256, (n, px, px, 3), dtype=np.uint8)
    labels = random.integers(0, DATA_SETS[spec.data.name].classes, n)
    return Prepared(
        train_images=images,
        train_labels=labels,
        clean_labels=labels,
        test_images=images,
        test_labels=labels,
        test_rows=np.arange(n, dtype=np.int32),
        num_classes=DATA_SETS[spec.data.name].classes,
        fingerprint="",
        noisy_labels=lambda _seed: labels,
    )


class Ours:
    """Lanes of one specification, a seed each, and their engine, driven as the trainer does."""

    def __init__(self, spec: RunSpec, device: torch.device, steps: int, *, lanes: int = 1) -> None:
        """Make random images for epochs of ``steps`` steps."""
        images = random_images(spec, steps * spec.training.batch_size)
        seeds = range(1, lanes + 1)
        self.lanes = [Lane(replace(spec, seed=seed), images, device) for seed in seeds]
        self.images, self.epochs = len(images.train_images) * lanes, 0
        self.engine = make_engine(self.lanes)

    def epoch(self) -> None:
        """Train for one epoch."""
        self.epochs += 1
        self.engine.run_epoch(self.epochs, lambda _step: None)
        for lane in self.lanes:
            lane.epoch_totals()

    def test(self) -> None:
        """Evaluate the first lane on its test images."""
        images = self.lanes[0].images
        self.lanes[0].evaluate(images.test_images, images.test_labels)

    def load(self) -> None:
        """Draw and gather the augmented batches of an epoch of the first lane; train on none."""
        lane = self.lanes[0]
        self.epochs += 1
        lane.begin_epoch(self.epochs)
        for position in range(len(lane.epoch_steps)):
            lane.pipeline.gather(*lane.batch(position))
