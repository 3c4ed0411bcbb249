"""How fast a kind of run is on this device: a few steps on made images."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from msgspec.structs import replace

from resbench.data.catalog import NATIVE_PX, NUM_CLASSES
from resbench.suite.spec import RunSpec, Schedule
from resbench.train.engine import WARMUP_STEPS, OnStep, make_engine
from resbench.train.images import Prepared
from resbench.train.lane import EVAL_BATCH, Lane


def made_images(spec: RunSpec, n: int) -> Prepared:
    """Return ``n`` training and test images of random pixels in a run's shape."""
    random = np.random.default_rng(0)
    px = spec.data.image_px or NATIVE_PX[spec.data.name]
    images = random.integers(0, 256, (n, px, px, 3), dtype=np.uint8)
    labels = random.integers(0, NUM_CLASSES[spec.data.name], n)
    return Prepared(
        train_images=images,
        train_labels=labels,
        clean_labels=labels,
        test_images=images,
        test_labels=labels,
        test_rows=np.arange(n, dtype=np.int32),
        num_classes=NUM_CLASSES[spec.data.name],
        augment=spec.training.augment,
        fingerprint="",
        noisy_labels=lambda _seed: labels,
    )


def calibrate(
    spec: RunSpec, device: torch.device, steps: int, on_step: OnStep
) -> tuple[float, float]:
    """Return training and evaluation speed in images per second.

    Start-up, capture and the first steps are left out. ``on_step`` may raise to end it early.
    """
    batch = spec.training.batch_size
    n = max(batch * (steps + WARMUP_STEPS), EVAL_BATCH[device.type])
    # A learning rate at which nothing diverges on images that mean nothing.
    optim = replace(spec.training.optim, lr=1e-6)
    schedule = Schedule(unit="step", total=10 * n, drops=(), warmup=None)
    training = replace(spec.training, optim=optim, schedule=schedule)
    lane = Lane(replace(spec, training=training), made_images(spec, n), device)
    lane.begin_epoch(1)
    engine = make_engine([lane])
    lane.begin_epoch(1)
    engine.run_epoch(range(WARMUP_STEPS), on_step)
    train_s = _timed(device, lambda: engine.run_epoch(range(steps), on_step))
    shown = EVAL_BATCH[device.type]
    images, labels = lane.images.test_images[:shown], lane.images.test_labels[:shown]
    if spec.engine != "eager":
        lane.evaluate(images, labels)  # captures
    eval_s = _timed(device, lambda: lane.evaluate(images, labels))
    return steps * batch / train_s, shown / eval_s


def _timed(device: torch.device, work: Callable[[], object]) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()  # for the warm-up
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start
