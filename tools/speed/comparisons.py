"""What is compared with what, on which kind of device."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from resbench.suite.spec import RunSpec
from tools.speed.ours import ATTENTION_56, ATTENTION_92, TINY, Ours, spec_of
from tools.speed.peer import Peer

Cell = tuple[str, str]
GPU_STEPS = 400
"""Steps of one round: half an epoch of CIFAR at batch 64."""


@dataclass(frozen=True)
class Bench:
    """Where to measure; ``quick`` shows that everything works, and measures nothing."""

    device: torch.device
    quick: bool = False

    def steps(self, full: int) -> int:
        """Return how many steps a round has."""
        return 2 if self.quick else full

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def spec(self, cell: Cell, **changes: Any) -> RunSpec:
        """Return a suite's run with the fastest engine and precision of the device."""
        fast = {"engine": "graph", "precision": "bf16"} if self.device.type == "cuda" else {}
        return spec_of(cell, quick=self.quick, **fast | changes)


@dataclass(frozen=True)
class Contender:
    """One side of a comparison; ``work`` does ``units`` images or commands a round."""

    name: str
    units: float
    work: Callable[[], object]
    settings: Callable[[], AbstractContextManager[object]] = nullcontext
    """Settings of the whole process under which ``work`` runs; entering them is not timed."""


Contenders = Callable[[Bench], Sequence[Contender]]


@dataclass(frozen=True)
class Comparison:
    """The first contender against each of the others; a single one is only timed."""

    name: str
    device: str
    contenders: Contenders
    rounds: int = 5
    unit: str = "images/s"
    """``s`` shows seconds a command instead."""


def training(cell: Cell, steps: int, *, lanes: int = 1, **changes: Any) -> Contenders:
    """Train the same network at the same batch in our loop and in the peer's."""

    def contenders(bench: Bench) -> list[Contender]:
        spec = bench.spec(cell, **changes)
        ours = Ours(spec, bench.device, bench.steps(steps), lanes=lanes)
        mine = Contender("ours", ours.images, ours.epoch)
        return [mine, *_peers(spec, ours, bench.device, ours.images / lanes, Peer.train_epoch)]

    return contenders


def testing(cell: Cell, images: int) -> Contenders:
    """Test the same network in our loop and in the peer's."""

    def contenders(bench: Bench) -> list[Contender]:
        spec = bench.spec(cell)
        ours = Ours(spec, bench.device, bench.steps(images // spec.training.batch_size))
        mine = Contender("ours", ours.images, ours.test)
        return [mine, *_peers(spec, ours, bench.device, ours.images, Peer.test)]

    return contenders


def _peers(
    spec: RunSpec, ours: Ours, device: torch.device, images: float, work: Callable[[Peer], object]
) -> Iterator[Contender]:
    """Yield the loop as it is, with torch's switches on, and with our up-sampling on top."""
    peer = partial(Peer, spec, ours.lanes[0].images, device)
    peers = {
        "peer loop": peer(),
        "peer loop, flags on": peer(flags=True),
        "same, our up-sampling": peer(flags=True, own_upsampling=True),
    }
    for name, one in peers.items():
        yield Contender(name, images, partial(work, one), one.settings)


def loading(bench: Bench) -> list[Contender]:
    """Make an epoch of CIFAR batches (pad, crop, flip, normalise) on one thread."""
    spec = bench.spec(ATTENTION_56)
    ours = Ours(spec, bench.device, bench.steps(80))
    peer = Peer(spec, ours.lanes[0].images, bench.device)
    return [
        Contender("ours", ours.images, ours.load),
        Contender("PIL, no workers", ours.images, lambda: [None for _ in peer.train_loader]),
    ]


def ways(*ways: tuple[str, int, dict[str, Any]]) -> Contenders:
    """Train Attention-92 in ways of ours: so many seeds at once, another engine or precision."""

    def contenders(bench: Bench) -> Iterator[Contender]:
        for name, lanes, changes in ways:
            spec, steps = bench.spec(ATTENTION_92, **changes), bench.steps(GPU_STEPS)
            ours = Ours(spec, bench.device, steps, lanes=lanes)
            yield Contender(name, ours.images, ours.epoch)

    return lambda bench: list(contenders(bench))


def starting(*words: str) -> Contenders:
    """Run a command that needs no torch, against the import of torch alone."""
    cli = (sys.executable, "-P", "-m", "resbench")
    return lambda _bench: [
        Contender("ours", 1, partial(_run, *cli, *words)),
        Contender("import torch", 1, partial(_run, sys.executable, "-c", "import torch")),
    ]


def smoke(bench: Bench) -> list[Contender]:
    """Run the smoke suite into an empty folder, start-up included."""
    quick = ("--cell", "local/arl", "--set", "data.train_images=64") if bench.quick else ()
    words = ("-P", "-m", "resbench", "run", "smoke", "--devices", "cpu", *quick)
    return [Contender("ours", 1, partial(_run, sys.executable, *words))]


def _run(*command: str) -> None:
    """Run a command in a new folder with a cache of its own; it must succeed."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {**os.environ, "RESBENCH_CACHE_DIR": f"{folder}/cache"}
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")


COMPARISONS = (
    Comparison("train Attention-92", "cuda", training(ATTENTION_92, GPU_STEPS)),
    Comparison("train Attention-92, batch 128", "cuda",
               training(ATTENTION_92, GPU_STEPS, batch_size=128)),
    Comparison("train 4 x Attention-92", "cuda", training(ATTENTION_92, GPU_STEPS, lanes=4)),
    Comparison("test Attention-92", "cuda", testing(ATTENTION_92, 10_000)),
    Comparison("seeds at once", "cuda", ways(("4 seeds", 4, {}), ("1 seed", 1, {}))),
    Comparison("CUDA graph", "cuda", ways(("graph", 1, {}), ("eager", 1, {"engine": "eager"}))),
    Comparison("compiled units", "cuda",
               ways(("graph+compile", 1, {"engine": "graph+compile"}), ("graph", 1, {}))),
    Comparison("precision", "cuda", ways(("bf16", 1, {}), ("fp32", 1, {"precision": "fp32"}))),
    Comparison("train Attention-56", "cpu", training(ATTENTION_56, 2)),
    Comparison("train smoke network", "cpu", training(TINY, 12)),
    Comparison("test smoke network", "cpu", testing(TINY, 720), rounds=7),
    Comparison("CIFAR batches", "cpu", loading, rounds=7),
    Comparison("resbench --help", "cpu", starting("--help"), unit="s"),
    Comparison("resbench plan smoke", "cpu", starting("plan", "smoke"), unit="s"),
    Comparison("resbench validate smoke", "cpu", starting("validate", "smoke"), unit="s"),
    Comparison("resbench run smoke", "cpu", smoke, rounds=1, unit="s"),
)  # fmt: skip
