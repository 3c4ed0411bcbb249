"""The engines on a CUDA device: the same computation, repeatable, alone and packed.

Never run on a GPU so far. With torch and the test packages at hand and nothing to install:
``PYTHONPATH=benchmark CUBLAS_WORKSPACE_CONFIG=:4096:8 python -m pytest -m gpu tests/gpu``.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from resbench.suite.spec import RunSpec
from resbench.train.environment import _failed_allocations, find_device, set_up_device
from resbench.train.jobs import _out_of_memory
from resbench.train.lane import EVAL_BATCH, Diverged
from resbench.train.recording import _gpu_peak_bytes

from ..mini import REPORT
from ..train.live import (
    LEAPS,
    Trained,
    assert_live_weights,
    assert_same_computation,
    first_gradients,
    lane_of,
)
from ..train.live import gpu_spec as spec
from ..train.live import trained as trained_on

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("default"),  # of a compiler or driver that no test here chose
]


@pytest.fixture(autouse=True)
def deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    set_up_device(find_device("cuda"), threads=1)


def trained(*specs: RunSpec, epochs: int = 1) -> list[Trained]:
    return trained_on(find_device("cuda"), *specs, epochs=epochs)


KINDS: dict[str, dict[str, Any]] = {
    "arl": {},
    "nal": {"model__learning": "nal"},
    "channel": {"model__activation": "channel"},
    "spatial": {"model__activation": "spatial"},
    "local": {"model__mask": "local"},
    "resnet": {"model": {"family": "he2016", "name": "resnet-164", "width": 0.25}},
    "report": REPORT,
}


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-3), ("bf16", 0.05)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_step_of_a_graph_has_the_gradients_of_the_eager_one(
    kind: str, precision: str, most: float
) -> None:
    """Of the first step: from there a difference of one rounding grows by itself."""
    device, changes = find_device("cuda"), {**KINDS[kind], "precision": precision}
    eager = first_gradients(device, spec(**{**changes, "engine": "eager"}))
    graph = first_gradients(device, spec(**{**changes, "engine": "graph"}))
    assert eager.keys() == graph.keys()
    assert len(eager) > 100
    for name, gradient in eager.items():
        size = gradient.norm().clamp(min=1e-6)
        assert (graph[name] - gradient).norm() / size < most, name


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "report"])
def test_graph_and_eager_are_equal_step_by_step_where_their_first_gradients_are(kind: str) -> None:
    device, changes = find_device("cuda"), KINDS[kind]
    specs = [spec(**{**changes, "engine": engine}) for engine in ("eager", "graph")]
    first, second = (first_gradients(device, one) for one in specs)
    if any(not torch.equal(first[name], second[name]) for name in first):
        pytest.skip("their first gradients differ by a rounding")
    assert trained(specs[0], epochs=2) == trained(specs[1], epochs=2)


def test_memory_that_runs_out_is_recognised() -> None:
    device = find_device("cuda")
    failed = _failed_allocations(device)
    torch.cuda.set_per_process_memory_fraction(1e-4, device)
    try:
        with pytest.raises(RuntimeError) as error:
            trained(spec(engine="eager", model__width=4.0))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert _out_of_memory(error.value)
    assert _failed_allocations(device) > failed
    assert (_gpu_peak_bytes(device) or 0) > 0


def test_the_first_step_in_bf16_is_close_to_that_in_fp32() -> None:
    fp32 = trained(spec(engine="graph", **LEAPS))[0][1][0]
    bf16 = trained(spec(engine="graph", precision="bf16", **LEAPS))[0][1][0]
    assert bf16[0] == pytest.approx(fp32[0], rel=0.05)


@pytest.mark.parametrize("engine", ["eager", "graph", "graph+compile"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_repeats_bit_for_bit(engine: str, precision: str) -> None:
    one = spec(engine=engine, precision=precision)
    assert trained(one, epochs=2) == trained(one, epochs=2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_units_compute_what_plain_ones_do(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EVAL_BATCH, "cuda", 100)
    specs = [spec(engine=name, precision=precision, **LEAPS) for name in ("graph+compile", "graph")]
    assert_same_computation(*(lane_of(one, device=find_device("cuda")) for one in specs))


def test_a_report_network_with_dropout_repeats_bit_for_bit() -> None:
    one = spec(**{**REPORT, "engine": "graph", "precision": "bf16"})
    assert trained(one, epochs=2) == trained(one, epochs=2)


def test_packed_runs_are_bit_equal_to_runs_alone() -> None:
    seeds = [spec(engine="graph", precision="bf16", seed=seed) for seed in (1, 2, 3)]
    assert trained(*seeds, epochs=2) == [trained(one, epochs=2)[0] for one in seeds]


def test_a_drop_of_the_learning_rate_needs_no_new_capture() -> None:
    drop = {"training__schedule__drops": [{"at": 1, "factor": 1e-6}]}
    [(_, (first, second))] = trained(spec(engine="graph", **drop), epochs=2)
    [(_, (same, other))] = trained(spec(engine="graph"), epochs=2)
    assert first == same
    assert second != other


def test_a_loss_that_is_not_finite_is_found_with_its_step() -> None:
    with pytest.raises(Diverged, match="step"):
        trained(spec(engine="graph", training__optim__lr=1e9), epochs=2)


def test_captured_evaluation_is_the_plain_one_with_the_weights_of_the_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(EVAL_BATCH, "cuda", 100)
    assert_live_weights(lane_of(spec(engine="graph"), device=find_device("cuda")))
