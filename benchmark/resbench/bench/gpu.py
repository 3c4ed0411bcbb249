"""What the parts of the graph engine cost on a GPU, and how near it comes to the memory's limit.

None of this has run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from msgspec import structs

from resbench.bench.contest import ATTENTION_92, Bench, Reading, ratios
from resbench.bench.measure import Contender, take_turns
from resbench.bench.traffic import traffic_of
from resbench.bench.training import Ours
from resbench.suite.spec import Engine

STEPS = 400
"""Steps of one round: half an epoch of CIFAR at batch 64."""
COPY_BYTES = 1 << 30


def packed_against_alone(bench: Bench) -> list[Reading]:
    """Four seeds together against one, and whether a seed ends with the weights it has alone."""
    alone, together = _ours(bench), _ours(bench, lanes=4)
    rows = _compared(bench, {"4 seeds": together, "1 seed": alone})
    states = [runs.lanes[0].model.state_dict().values() for runs in (together, alone)]
    same = all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    return [replace(rows[0], note="bit-equal to alone" if same else "NOT bit-equal to alone")]


def live_against_fixed(bench: Bench) -> list[Reading]:
    """Batches gathered from the data set against one batch that is always there."""
    fixed = _ours(bench, fixed_batch=True)
    return _compared(bench, {"live data": _ours(bench), "one fixed batch": fixed})


def deterministic_against_not(bench: Bench) -> list[Reading]:
    """The engine as it is against the same captured with torch's free choice of algorithms."""
    with _free():
        free = _ours(bench)
    return _compared(bench, {"deterministic": _ours(bench), "not deterministic": free})


def compiled_against_not(bench: Bench) -> list[Reading]:
    """The residual units compiled against the units as they are."""
    return _compared(bench, {"graph+compile": _ours(bench, engine="graph+compile"),
                             "graph": _ours(bench)})  # fmt: skip


def bandwidth(bench: Bench, lanes: int) -> list[Reading]:
    """Bytes a second of training, by the traffic model, as a share of a plain copy's."""
    ours = _ours(bench, lanes=lanes)
    traffic = traffic_of(ours.lanes[0].spec, bench.device)
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    contenders = [
        Contender("training", traffic * STEPS * lanes, ours.epoch),
        Contender("device copy", 2 * COPY_BYTES * 100, lambda: _copy(target, source, 100)),
    ]
    rows = ratios(take_turns(contenders, bench.rounds(5), bench.synchronize), "byte/s")
    return [replace(rows[0], note=f"{traffic / 1e9:.2f} GB a step and seed by the traffic model")]


def _copy(target: torch.Tensor, source: torch.Tensor, times: int) -> None:
    for _ in range(times):
        target.copy_(source)


def _ours(
    bench: Bench, *, lanes: int = 1, fixed_batch: bool = False, engine: Engine = "graph"
) -> Ours:
    spec = structs.replace(bench.spec(ATTENTION_92, steps=STEPS), engine=engine)
    return Ours(spec, bench.device, STEPS, lanes=lanes, fixed_batch=fixed_batch)


def _compared(bench: Bench, runs: dict[str, Ours]) -> list[Reading]:
    contenders = [Contender(name, ours.images, ours.epoch) for name, ours in runs.items()]
    return ratios(take_turns(contenders, bench.rounds(5), bench.synchronize))


@contextmanager
def _free() -> Iterator[None]:
    torch.set_deterministic_debug_mode("default")
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=False, allow_tf32=False):
            yield
    finally:
        torch.set_deterministic_debug_mode("error")
