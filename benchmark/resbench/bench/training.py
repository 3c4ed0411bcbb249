"""Training and testing in our loop beside the peer's, on any device."""

from __future__ import annotations

from functools import partial

import torch
from msgspec.structs import replace

from resbench.bench.contest import Bench, Cell, Reading, ratios
from resbench.bench.measure import Contender, take_turns
from resbench.bench.peer import Peer
from resbench.suite.spec import RunSpec
from resbench.train.calibrate import made_images
from resbench.train.engine import make_engine
from resbench.train.lane import Lane


class Ours:
    """Lanes of one specification and their engine, driven as :mod:`resbench.train.loop` does."""

    def __init__(
        self,
        spec: RunSpec,
        device: torch.device,
        steps: int,
        *,
        lanes: int = 1,
        fixed_batch: bool = False,
    ) -> None:
        """Make random images for epochs of ``steps`` steps; one seed a lane.

        ``fixed_batch`` puts one batch that stays where it is in the place of live data.
        """
        images = made_images(spec, steps * spec.training.batch_size)
        seeds = range(1, lanes + 1)
        self.lanes = [Lane(replace(spec, seed=s), images, device) for s in seeds]
        self.steps, self.epochs = range(steps), 0
        self.images = len(images.train_images) * lanes
        self._begin()
        if fixed_batch:
            for lane in self.lanes:
                batch = slice(spec.training.batch_size)
                x_BCHW = lane.pipeline.gather(lane.draws.index[batch], lane.draws.params[batch])
                lane.pipeline.gather = lambda *_, x=x_BCHW: x  # type: ignore[method-assign]
        self.engine = make_engine(self.lanes)

    def epoch(self) -> list[tuple[float, float]]:
        """Train for one epoch; return each lane's mean loss and error in percent."""
        self._begin()
        self.engine.run_epoch(self.steps, lambda _step: None)
        return [lane.epoch_totals(self.steps) for lane in self.lanes]

    def test(self) -> None:
        """Evaluate the first lane on its test images."""
        images = self.lanes[0].images
        self.lanes[0].evaluate(images.test_images, images.test_labels)

    def _begin(self) -> None:
        self.epochs += 1
        for lane in self.lanes:
            lane.begin_epoch(self.epochs)


def train_against_peer(
    bench: Bench, cell: Cell, *, steps: int, batch_size: int | None = None, lanes: int = 1
) -> list[Reading]:
    """Train the same network at the same batch in our loop and in the peer's, as it is and tuned.

    The last row leaves the peer our up-sampling, so that only the loops differ.
    """
    steps = 2 if bench.quick else steps
    spec = bench.spec(cell, batch_size=batch_size, steps=steps)
    ours = Ours(spec, bench.device, steps, lanes=lanes)
    peers = _peers(spec, ours, bench)
    contenders = [Contender("ours", ours.images, ours.epoch)]
    contenders += [
        Contender(name, ours.images / lanes, peer.train_epoch, peer.settings)
        for name, peer in peers.items()
    ]
    return ratios(take_turns(contenders, bench.rounds(5), bench.synchronize))


def evaluate_against_peer(bench: Bench, cell: Cell, *, images: int) -> list[Reading]:
    """Evaluate the same network in our loop and in the peer's."""
    spec = bench.spec(cell, steps=1)
    batch = spec.training.batch_size
    steps = max(1, (64 if bench.quick else images) // batch)
    ours = Ours(spec, bench.device, steps)
    contenders = [Contender("ours", ours.images, ours.test)]
    contenders += [
        Contender(name, ours.images, peer.test, peer.settings)
        for name, peer in _peers(spec, ours, bench).items()
    ]
    return ratios(take_turns(contenders, bench.rounds(7), bench.synchronize))


def _peers(spec: RunSpec, ours: Ours, bench: Bench) -> dict[str, Peer]:
    peer = partial(Peer, spec, ours.lanes[0].images, bench.device)
    return {
        "peer loop": peer(),
        "peer loop, flags on": peer(flags=True),
        "same, our up-sampling": peer(flags=True, own_upsampling=True),
    }
