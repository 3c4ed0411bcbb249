"""The graph engine on a CPU, under a stand-in for CUDA graphs that repeats what was captured.

What it cannot show, and `tests/gpu` does: that CUDA takes the capture, and the bits of its kernels.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial, partialmethod
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from resbench.models.layers import ResidualUnit
from resbench.suite.spec import RunSpec
from resbench.train import engine, environment
from resbench.train.lane import EVAL_BATCH, Diverged, Lane
from resbench.train.optim import Optimizer

from ..mini import REPORT, raising, spec_of
from .live import (
    CPU,
    LEAPS,
    assert_live_weights,
    assert_same_computation,
    evaluated,
    gpu_spec,
    lane_of,
    state_of,
    train_epoch,
    trained,
)

OF_THE_HOST = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.lift_fresh.default}
"""Reading a value on the host, and bringing one from there: no graph can hold these."""


class Tape(TorchDispatchMode):
    """Repeats the captured operations on the memory that they had, as a CUDA graph does.

    So whatever the host decided or knew while it captured is frozen: numbers, addresses, branches.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in OF_THE_HOST, f"{func} in a captured step"
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Stream:
    """A stream of a device that has one; keeps who has joined it."""

    def __init__(self, _device: torch.device | None = None) -> None:
        self.joined: list[Stream] = []

    def wait_stream(self, other: Stream) -> None:
        self.joined.append(other)


@pytest.fixture(autouse=True)
def captures(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Stream, object]]:
    """Put the stand-in in force; return the stream and the memory pool of each capture."""
    captured: list[tuple[Stream, object]] = []

    def capture(tape: Tape, stream: Stream, pool: object = None) -> Tape:
        captured.append((stream, pool))
        return tape

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Tape)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda _stream: nullcontext())
    # As on a GPU under either engine: in Adam's doubles a float32 tensor is another number.
    with_tensor = partial(Optimizer, tensor_lr=True)
    monkeypatch.setattr(
        "resbench.train.lane.Optimizer", lambda model, optim, **_: with_tensor(model, optim)
    )
    monkeypatch.setitem(EVAL_BATCH, "cpu", 20)  # of 50 images: two captured batches and a rest
    return captured


def graph(**changes: Any) -> RunSpec:
    return spec_of(**{"engine": "graph", "training__schedule__total": 3, **changes})


def eager(**changes: Any) -> RunSpec:
    return graph(**{**changes, "engine": "eager"})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__learning": "nal", "precision": "bf16"},
        {"data__clean_ratio": 0.5, "data__noise": "redrawn"},
        REPORT,
    ],
)
def test_replays_are_the_eager_steps_bit_for_bit(changes: dict[str, Any]) -> None:
    assert trained(CPU, graph(**changes), epochs=3) == trained(CPU, eager(**changes), epochs=3)


def test_a_drop_of_the_learning_rate_needs_no_new_capture(
    captures: list[tuple[Stream, object]],
) -> None:
    drop = {"training__schedule__drops": [{"at": 1, "factor": 1e-3}]}
    [(_, (first, second, _))] = trained(CPU, graph(**drop), epochs=3)
    assert len(captures) == 1
    [(_, (same, other, _))] = trained(CPU, graph(training__schedule__drops=[]), epochs=3)
    assert first == same
    assert second != other


def test_packed_runs_are_the_runs_alone_bit_for_bit() -> None:
    seeds = [graph(seed=seed) for seed in (1, 2)]
    alone = [trained(CPU, one, epochs=2)[0] for one in seeds]
    assert trained(CPU, *seeds, epochs=2) == alone


def test_after_a_loss_that_is_not_finite_nothing_is_updated_and_the_step_is_named() -> None:
    wild = {"training__optim__lr": 1e18, "training__schedule__drops": []}
    lane = lane_of(graph(**wild))
    engine.make_engine([lane]).run_epoch(1, lambda _step: None)
    with pytest.raises(Diverged, match=r"at step [2-4]$") as diverged:
        lane.epoch_totals()
    assert lane.not_finite.item() == 1
    with pytest.raises(Diverged, match=f"^{diverged.value}$"):
        trained(CPU, eager(**wild))
    later = lane_of(graph())
    driver = engine.make_engine([later])
    with torch.no_grad():
        later.model.get_submodule("fc").weight.fill_(1e38)  # type: ignore[operator]
    driver.run_epoch(2, lambda _step: None)
    with pytest.raises(Diverged, match=r"at step 5$"):
        later.epoch_totals()


def test_captured_evaluation_is_the_plain_one_with_the_weights_of_the_moment() -> None:
    assert_live_weights(lane_of(graph()))


def test_captured_evaluations_share_a_pool_on_a_stream_of_their_own(
    captures: list[tuple[Stream, object]],
) -> None:
    """The memory of one evaluation, not of one a lane; never that of the training step."""
    lanes = [lane_of(graph(seed=seed)) for seed in (1, 2, 3)]
    plain = [evaluated(lane).loss for lane in lanes]
    driver = engine.GraphEngine(lanes, compile_units=False)
    assert [evaluated(lane).loss for lane in lanes] == plain
    step, *evaluations = captures
    assert len(evaluations) == 3
    ((stream, pool),) = set(evaluations)
    assert pool is not None
    assert step[1] is None
    assert stream not in (step[0], *driver.streams)


def test_a_step_that_fails_leaves_no_stream_of_the_capture_unjoined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the capture cannot be ended and its memory stays lost to the runs one at a time."""
    lanes = [lane_of(graph(seed=seed)) for seed in (1, 2, 3)]
    driver = engine.GraphEngine(lanes, compile_units=False)
    monkeypatch.setattr(lanes[1], "train_step", raising(torch.OutOfMemoryError("out of memory")))
    origin = Stream()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: origin)
    with pytest.raises(torch.OutOfMemoryError):
        driver._step()
    assert origin.joined == driver.streams


@pytest.mark.parametrize(
    ("spec", "at"),
    [(make(), at) for make in (graph, eager) for at in ("train_step", "eval_logits")],
)
def test_steps_for_which_memory_hardly_suffices_are_out_of_memory(
    spec: RunSpec, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuDNN would take another plan without a word, and the run have other bits."""
    failed, real = 3, getattr(Lane, at)

    def call(lane: Lane, *arguments: Tensor) -> Tensor:
        nonlocal failed
        failed += 1  # and nothing is raised
        return real(lane, *arguments)

    monkeypatch.setattr(Lane, at, call)
    monkeypatch.setattr(environment, "_failed_allocations", lambda _device: failed)

    def train_and_evaluate(lane: Lane) -> None:
        engine.make_engine([lane]).run_epoch(1, lambda _step: None)
        evaluated(lane)

    with pytest.raises(torch.OutOfMemoryError, match="none is left for cuDNN's workspace"):
        train_and_evaluate(lane_of(spec))


def test_the_host_is_never_far_ahead_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[int] = []
    waited: list[int] = []
    done = 0

    class Event:
        def record(self) -> None:
            self.step = done
            recorded.append(done)

        def synchronize(self) -> None:
            waited.append(done - self.step)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(engine, "AHEAD_STEPS", 1)

    def count(_step: int) -> None:
        nonlocal done
        done += 1

    engine.make_engine([lane_of(graph())]).run_epoch(1, count)
    assert recorded == [1, 2, 3, 4]
    assert waited == [1, 1, 1]  # each time for the event before the last: the queue never drains


def test_what_the_gpu_tests_train_can_be_made() -> None:
    for spec in (gpu_spec(engine="eager"), gpu_spec(**{**REPORT, "engine": "eager"})):
        lane = lane_of(spec, 1)
        assert len(lane.images.test_labels) % 100  # a captured evaluation has a partial batch


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_kernels_that_round_in_another_order_pass_the_test_of_compiled_ones(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = lane_of(gpu_spec(engine="graph", precision=precision, **LEAPS))
    plain = lane_of(gpu_spec(engine="eager", precision=precision, **LEAPS))
    forward = plain.forward

    def with_other_kernels(x_BCHW: Tensor) -> Tensor:
        with monkeypatch.context() as patch:
            patch.setattr(torch.backends.mkldnn, "enabled", False)
            return forward(x_BCHW)

    plain.forward = with_other_kernels
    assert_same_computation(lane, plain)


@pytest.mark.parametrize("with_gradients", [True, False])
def test_kernels_that_keep_the_weights_that_they_were_made_with_do_not(
    with_gradients: bool,
) -> None:
    lane, plain = (lane_of(gpu_spec(engine="graph", **LEAPS)) for _ in range(2))
    kernels = {name: p for name, p in lane.model.named_parameters() if p.dim() == 4}
    first = {name: kernel.detach().clone() for name, kernel in kernels.items()}

    def with_first_weights(x_BCHW: Tensor) -> Tensor:
        kept = {
            name: first[name] + (kernel - kernel.detach()) * with_gradients
            for name, kernel in kernels.items()
        }
        return functional_call(lane.model, kept, (x_BCHW,))

    lane.forward = with_first_weights
    with pytest.raises(AssertionError):
        assert_same_computation(lane, plain)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the compiler, about its own work
def test_compiled_units_use_the_weights_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 each step brings its own, by a call that compilers have ignored (pytorch#97909)."""
    finds_weights = partialmethod(ResidualUnit.compile, backend="eager")  # and makes no kernels
    monkeypatch.setattr(ResidualUnit, "compile", finds_weights)
    plain, compiled = (lane_of(eager(precision="bf16")) for _ in range(2))
    engine._compile_units(compiled.model)
    for epoch in (1, 2):
        assert train_epoch(compiled, epoch) == train_epoch(plain, epoch)
        assert evaluated(compiled).loss == evaluated(plain).loss
    assert state_of(compiled) == state_of(plain)


def test_a_step_that_looks_at_its_loss_is_refused_by_the_stand_in() -> None:
    lane = lane_of(graph())
    lane.waits_for_host = True
    with pytest.raises(AssertionError, match="_local_scalar_dense"):
        engine.make_engine([lane])
