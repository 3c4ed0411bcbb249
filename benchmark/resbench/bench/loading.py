"""Batches of augmented training images, from the packed tensor and from single PIL images."""

from __future__ import annotations

import torch

from resbench.bench.contest import ATTENTION_56, Bench, Reading, ratios
from resbench.bench.measure import Contender, take_turns
from resbench.bench.peer import Peer
from resbench.data.pipeline import Pipeline
from resbench.train.calibrate import made_images


def batches(bench: Bench) -> list[Reading]:
    """An epoch of CIFAR batches (pad, crop, flip, normalise), drawn and gathered, on one thread."""
    steps = 4 if bench.quick else 80
    spec = bench.spec(ATTENTION_56, steps=steps)
    batch = spec.training.batch_size
    images = made_images(spec, steps * batch)
    pipeline = Pipeline(
        images.train_images,
        images.train_labels,
        augment=images.augment,
        normalise=spec.training.normalise,
    )
    generator = torch.Generator().manual_seed(1)

    def gather() -> None:
        draws = pipeline.draw_epoch(steps, batch, generator, generator)
        for index_B, params_BK in zip(
            draws.index.split(batch), draws.params.split(batch), strict=True
        ):
            pipeline.gather(index_B, params_BK)

    def load() -> None:
        for _ in peer.train_loader:
            pass

    peer = Peer(spec, images, torch.device("cpu"))
    count = steps * batch
    contenders = [Contender("ours", count, gather), Contender("PIL, no workers", count, load)]
    return ratios(take_turns(contenders, bench.rounds(7)))
