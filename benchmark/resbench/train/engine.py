"""How the steps of an epoch are driven: one launch at a time, or as one CUDA graph.

Both engines run :meth:`Lane.train_step`, so a run is the same computation under either. The graph
engine drives several lanes at once on parallel streams; each lane touches only its own tensors.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from resbench.models.layers import ResidualUnit
from resbench.train.checkpoint import dump, restore
from resbench.train.environment import without_fallbacks
from resbench.train.lane import EVAL_BATCH, Lane, diverged_at

OnStep = Callable[[int], None]
"""Called with the 0-based number of each step before it."""
WARMUP_STEPS = 3
AHEAD_STEPS = 64
"""After this many replays the host waits for earlier ones, so that it reacts to signals in time."""


class EagerEngine:
    """The plain loop: one lane, one kernel launch after the other."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane

    def run_epoch(self, epoch: int, on_step: OnStep) -> None:
        """Train a 1-based epoch; on a CPU a loss that is not finite ends it before its update.

        Raises:
            Diverged: on a CPU, at once; on a GPU the totals of the epoch raise it.
        """
        lane = self.lane
        lane.begin_epoch(epoch)
        with without_fallbacks(lane.device):
            for position, step in enumerate(lane.epoch_steps):
                on_step(step)
                lane.use_lr(step)
                loss = lane.train_step(*lane.batch(position))
                if lane.waits_for_host and not loss.isfinite():
                    raise diverged_at(step)


class GraphEngine:
    """One CUDA graph that holds a whole step of every lane.

    The graph reads its position in the epoch from a device counter and the learning rate from a
    device tensor, so an epoch is a row of replays without a copy or a sync in between.
    """

    def __init__(self, lanes: Sequence[Lane], *, compile_units: bool) -> None:
        self.lanes = list(lanes)
        for lane in self.lanes:
            lane.begin_epoch(1)  # a whole one, for the warm-up
        self.device = self.lanes[0].device
        self.position = torch.zeros((), dtype=torch.int64, device=self.device)
        self.within_B = torch.arange(self.lanes[0].spec.training.batch_size, device=self.device)
        self.static = [(lane.draws.index.clone(), lane.draws.params.clone()) for lane in self.lanes]
        if compile_units:
            for lane in self.lanes:
                _compile_units(lane.model)
        self.streams = [torch.cuda.Stream(self.device) for _ in self.lanes]
        self.graph = torch.cuda.CUDAGraph()
        with without_fallbacks(self.device):
            self._capture()
        # Lanes are evaluated one after the other, and what a replay leaves is copied at once, so
        # all can use the same memory, which torch keeps by stream. Their graphs end together.
        stream, pool = torch.cuda.Stream(self.device), torch.cuda.graph_pool_handle()
        for lane in self.lanes:
            lane.eval_forward = EvalGraph(lane, stream, pool)

    def run_epoch(self, epoch: int, on_step: OnStep) -> None:
        """Train a 1-based epoch: replay the graph once a step."""
        for lane, (index, params) in zip(self.lanes, self.static, strict=True):
            lane.begin_epoch(epoch)
            index[: len(lane.draws.index)].copy_(lane.draws.index)
            params[: len(lane.draws.params)].copy_(lane.draws.params)
        self.position.zero_()
        reached = None
        for number, step in enumerate(self.lanes[0].epoch_steps, 1):
            on_step(step)
            for lane in self.lanes:
                lane.use_lr(step)
            self.graph.replay()
            if number % AHEAD_STEPS == 0:
                if reached is not None:
                    reached.synchronize()
                reached = torch.cuda.Event()
                reached.record()

    def _step(self) -> None:
        offset_B = self.position * len(self.within_B) + self.within_B
        origin = torch.cuda.current_stream(self.device)
        for stream in self.streams:
            stream.wait_stream(origin)
        try:
            for lane, stream, static in zip(self.lanes, self.streams, self.static, strict=True):
                with torch.cuda.stream(stream):
                    lane.train_step(*(drawn.index_select(0, offset_B) for drawn in static))
        finally:  # a capture that ran out of memory ends, and frees its pool, only when joined
            for stream in self.streams:
                origin.wait_stream(stream)
        self.position.add_(1)

    def _capture(self) -> None:
        """Warm up on a side stream, put every state back, then capture one step."""
        before = [dump(lane.model, lane.optimizer, {}) for lane in self.lanes]
        gc.collect()  # the graphs and memory of engines that are gone, which refer to themselves
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(WARMUP_STEPS):
                self._step()
                self.position.zero_()
        torch.cuda.current_stream(self.device).wait_stream(side)
        for lane in self.lanes:
            lane.optimizer.zero_grad()  # the captured step makes its own gradients
        # On the stream of the warm-up, whose cuBLAS workspace no other graph shares: torch 2.13
        # frees a capture stream's workspaces with any graph captured there (pytorch#193402).
        with torch.cuda.graph(self.graph, stream=side):
            self._step()
        for lane, payload in zip(self.lanes, before, strict=True):
            restore(payload, lane.model, lane.optimizer)


class EvalGraph:
    """A captured forward pass over one full test batch; a smaller last batch runs eagerly."""

    def __init__(self, lane: Lane, stream: torch.cuda.Stream, pool: Any) -> None:
        """Take the stream and the memory pool that the lanes share."""
        self.lane, self.stream, self.pool = lane, stream, pool
        self.batch = EVAL_BATCH[lane.device.type]
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Return logits [B, K]; the network is in evaluation mode."""
        if len(x_BCHW) != self.batch:
            return self.lane.eval_logits(x_BCHW)
        if self.graph is None:
            self._capture(x_BCHW)
        assert self.graph is not None
        self.x_BCHW.copy_(x_BCHW)
        self.graph.replay()
        return self.logits_BK.clone()

    def _capture(self, x_BCHW: Tensor) -> None:
        self.x_BCHW = x_BCHW.clone(memory_format=torch.preserve_format)
        self.stream.wait_stream(torch.cuda.current_stream(self.lane.device))
        with torch.cuda.stream(self.stream):
            self.lane.eval_logits(self.x_BCHW)
        torch.cuda.current_stream(self.lane.device).wait_stream(self.stream)
        self.graph = torch.cuda.CUDAGraph()
        # On the stream of its warm-up, as in GraphEngine.
        with torch.cuda.graph(self.graph, pool=self.pool, stream=self.stream):
            self.logits_BK = self.lane.eval_logits(self.x_BCHW)


def _compile_units(model: nn.Module) -> None:
    """Compile every residual unit for its own shapes.

    All units share the code of one ``forward``, of which torch keeps 8 versions before it falls
    back, silently, to no compilation at all: a deep network has more shapes than that.
    """
    import torch._dynamo.config
    import torch._inductor.config

    torch._dynamo.config.recompile_limit = 256
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._inductor.config.deterministic = True  # no choice of kernels by timing
    for unit in model.modules():
        if isinstance(unit, ResidualUnit):
            unit.compile(dynamic=False)


def make_engine(lanes: Sequence[Lane]) -> EagerEngine | GraphEngine:
    """Return the engine that the lanes' specification names."""
    name = lanes[0].spec.engine
    if name == "eager":
        assert len(lanes) == 1, "the eager engine drives one run"
        return EagerEngine(lanes[0])
    return GraphEngine(lanes, compile_units=name == "graph+compile")
