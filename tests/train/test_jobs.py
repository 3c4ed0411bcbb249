"""Jobs in, outcomes out: whatever goes wrong has its name and costs no other run."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import time
import weakref
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from safetensors.torch import load

from resbench.errors import EnvironmentFault
from resbench.protocol import AtStep, Epoch, Fault, Job, Unfit
from resbench.store.locks import wait_lock
from resbench.store.predictions import read_predictions
from resbench.store.records import read_record, read_weights
from resbench.store.scan import scan
from resbench.store.state import Status
from resbench.train import attempt, control, jobs, loop
from resbench.train.attempt import Attempt
from resbench.train.engine import OnStep
from resbench.train.environment import code_version
from resbench.train.lane import Diverged, Evaluation, Lane

from ..mini import outputs, raising, spec_of, state_of
from .live import Worker, evaluated, finished, lane_of

SPEC = spec_of(training__schedule__total=2, training__batch_size=32)
ECC = "CUDA error: uncorrectable ECC error encountered"
TORCH = str(torch.__version__)
SECOND = structs.replace(SPEC, seed=2)


def behind_a_capture(error: Exception) -> Exception:
    """The end of a capture in which an error was raised, which hides it."""
    end = RuntimeError("CUDA error: operation failed due to a previous error")
    end.__context__ = error
    return end


@pytest.mark.parametrize(
    ("error", "outcome", "text", "of_the_device"),
    [
        (MemoryError(), "oom", "MemoryError", ""),
        (RuntimeError("alloc_cpu.cpp: can't allocate memory"), "oom", "alloc_cpu.cpp: can't", ""),
        (torch.OutOfMemoryError("CUDA out of memory."), "oom", "CUDA out of memory.", ""),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "oom", "CUDA", ""),
        (RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "c10/cuda/CUDACachingAllocator.'
                      'cpp":1165, please report a bug'), "oom", "NVML_SUCCESS == r", ""),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "oom", "[Errno 12]", ""),
        (RuntimeError("Unable to find an engine to execute this computation"), "oom", "Unable", ""),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED"), "oom", "CUDA error", ""),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), "oom", "cuDNN error", ""),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "failed", "RuntimeError", ""),
        (ValueError("images are too small."), "failed", "images are too small. (see its log)", ""),
        (RuntimeError("\n  two names\n"), "failed", "RuntimeError: two names (see its log)", ""),
        (ZeroDivisionError(), "failed", "ZeroDivisionError (see its log)", ""),
        (behind_a_capture(torch.OutOfMemoryError("CUDA out of memory.")), "oom", "CUDA error", ""),
        (behind_a_capture(RuntimeError(f"{ECC}\nmore")), "failed", "RuntimeError: CUDA err", ECC),
        # who corrupts numbers or addresses is the run: it would take out one GPU after the other
        *(
            (RuntimeError(f"CUDA error: {why}\nmore"), "failed", "RuntimeError: CUDA error: ", "")
            for why in (
                "device-side assert triggered",
                "an illegal memory access was encountered",
                "unspecified launch failure",
            )
        ),
        *(
            (RuntimeError(f"{text}\nmore"), "failed", f"RuntimeError: {text}", text)
            for text in (
                ECC,
                "CUDA error: no CUDA-capable device is detected",
                "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
                "CUDA error: device is lost",
                "CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error",
                "CUDA error: MPS client failed to connect to the MPS control daemon or the",
                "CUDA driver initialization failed, you might not have a CUDA gpu.",
                "CUDA unknown error - this may be due to an incorrectly set up environment",
            )
        ),
    ],
)  # fmt: skip
def test_an_error_has_its_outcome_is_told_from_one_of_the_device_and_is_not_recorded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    outcome: str,
    text: str,
    of_the_device: str,
) -> None:
    monkeypatch.setattr(jobs, "train", raising(error))
    worker = Worker(tmp_path)
    ((key, ended, said),) = worker.run(SPEC)
    assert (key, ended) == (SPEC.key, outcome)
    assert said.startswith(text)
    assert "\n" not in said
    assert worker.said(Unfit) == ([of_the_device] if of_the_device else [])
    state = state_of(worker.folder(SPEC))
    assert (state.status, state.reason) == (outcome, said)
    assert not worker.folder(SPEC).record.exists()
    assert "Traceback" in capsys.readouterr().err, "memory may not be the cause after all"


@pytest.mark.parametrize(("free", "oom"), [(1 << 30, True), (100 << 30, False)])
def test_a_library_that_finds_no_kernel_next_to_much_free_memory_does_not_lack_it(
    monkeypatch: pytest.MonkeyPatch, free: int, oom: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 140 << 30))
    assert jobs._out_of_memory(RuntimeError("Unable to find an engine to execute")) == oom
    assert jobs._out_of_memory(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"))


def test_a_device_without_a_context_loses_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = RuntimeError("CUDA error: an illegal memory access was encountered")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None, raising=False)
    monkeypatch.setattr(torch.cuda, "empty_cache", raising(lost))
    monkeypatch.setattr(jobs, "train", raising(lost))
    assert [end[1] for end in Worker(tmp_path).run(SPEC, SECOND)] == ["failed", "failed"]


def test_a_worker_keeps_no_memory_of_a_run_for_the_streams_that_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch keeps cuBLAS's until told: each run with a graph would leave the next one less."""
    freed: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    for where, name in ((torch._C, "_cuda_clearCublasWorkspaces"), (torch.cuda, "empty_cache")):
        monkeypatch.setattr(where, name, partial(freed.append, name), raising=False)
    monkeypatch.setattr(jobs, "train", lambda *_: freed.append("trained"))
    Worker(tmp_path).run(SPEC)
    assert freed == ["trained", "_cuda_clearCublasWorkspaces", "empty_cache"]


def test_a_failed_run_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "train", raising(MemoryError()))
        assert Worker(tmp_path).run(SPEC)[0][1] == "oom"
    finished(tmp_path, SPEC)


def test_a_recorded_run_is_not_trained_again(tmp_path: Path) -> None:
    finished(tmp_path, SPEC)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("record.json")}
    worker = Worker(tmp_path)
    worker.folder(SPEC).checkpoint.write_bytes(b"of a worker that was killed after the record")
    assert worker.run(SPEC)[0][1:] == ("done", "already recorded")
    assert worker.epochs() == []
    assert not worker.folder(SPEC).checkpoint.exists()
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_kept_weights_are_those_of_the_last_epoch_and_change_nothing_else(tmp_path: Path) -> None:
    plain, kept = Worker(tmp_path / "plain"), Worker(tmp_path / "kept")
    for worker in (plain, kept):
        worker.folder(SPEC).create()
        worker.folder(SPEC).weights.write_bytes(b"of a worker that was killed")
    assert plain.run(SPEC)[0][1] == kept.run(SPEC, keep_weights=True)[0][1] == "done"
    assert not plain.folder(SPEC).weights.exists(), "unasked"
    assert "weights.safetensors" not in read_record(plain.folder(SPEC)).files
    folder = kept.folder(SPEC)
    weights = read_weights(folder, read_record(folder))
    assert weights is not None
    lane = lane_of(SPEC)
    lane.model.load_state_dict(load(weights))
    again, stored = evaluated(lane), read_predictions(folder.predictions)
    assert np.array_equal(again.pred, stored.pred)
    assert np.allclose(again.prob_true, stored.prob_true, atol=1e-6)
    assert outputs(kept.results) == outputs(plain.results)


def test_a_fault_of_the_data_is_reported_to_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_load", raising(EnvironmentFault("cifar10: MD5 is a, expected b.")))
    worker = Worker(tmp_path)
    assert worker.run(SPEC)[0][1:] == ("failed", "cifar10: MD5 is a, expected b.")
    assert worker.said(Fault) == ["cifar10: MD5 is a, expected b."]


def test_a_device_that_cannot_be_used_is_reported_and_stops_no_other(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    worker = Worker(tmp_path)
    ((_, outcome, text),) = worker.run(SPEC, device="cuda:0")
    assert outcome == "failed"
    assert "sees no CUDA device. Use the CPU" in text
    assert (worker.said(Fault), worker.said(Unfit)) == ([], [text])


def test_a_mistake_of_the_suite_costs_its_own_run_only(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    too_many = spec_of(data__train_images=10_000)
    ((_, outcome, text),) = worker.run(too_many)
    assert outcome == "failed"
    assert "10000" in text
    assert worker.said(Fault) == []


def test_a_run_that_cannot_even_start_leaves_a_folder_that_says_which_run_it_is(
    tmp_path: Path,
) -> None:
    networks = tmp_path / "networks.py"
    networks.write_text("def (")  # edited while the run was waiting
    worker = Worker(tmp_path)
    ((_, outcome, text),) = worker.run(SPEC, networks=networks)
    assert (outcome, "networks.py:1: " in text) == ("failed", True)
    found = scan(tmp_path)
    assert found.problems == ()
    (run,) = found.incomplete
    assert run.started is not None
    assert run.started["key"] == SPEC.key


# -- environment ---------------------------------------------------------------------------------


def test_another_torch_or_choice_of_kernels_is_refused_unless_accepted_and_then_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MKL_CBWR", raising=False)
    spec = spec_of(training__schedule__total=3, training__batch_size=32)
    started = Worker(tmp_path).stop_after(1)
    assert started.run(spec)[0][1] == "interrupted"
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setattr(torch, "__version__", "9.9")
    refused = Worker(tmp_path)
    ((_, outcome, text),) = refused.run(spec)
    assert outcome == "failed"
    assert f"torch: {TORCH} -> 9.9" in text
    assert "kernel_variables: {" in text
    assert "--accept-environment" in text
    assert refused.said(Unfit) == [text], "another device may take it"
    assert started.folder(spec).checkpoint.exists()
    ((_, outcome, _),) = Worker(tmp_path).stop_after(2).run(spec, accept_environment=True)
    assert outcome == "interrupted"
    ((_, outcome, _),) = Worker(tmp_path).run(spec)
    assert outcome == "done", "the new environment is its own now"
    record = read_record(started.folder(spec))
    assert record.environment.kernel_variables["MKL_CBWR"] == "COMPATIBLE"
    assert record.environment.torch == "9.9"
    other_torch, other_kernels = record.environment.engine_notes
    assert other_torch == f"epoch 1: torch: {TORCH} -> 9.9"
    assert other_kernels.startswith("epoch 1: kernel_variables: {")


def test_a_run_that_other_code_continues_says_so_in_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(training__schedule__total=3, training__batch_size=32)
    worker = Worker(tmp_path).stop_after(1)
    worker.run(spec)
    mine = code_version()
    other = structs.replace(mine, version="9.9", source_sha256="f" * 64)
    monkeypatch.setattr(attempt, "code_version", lambda: other)
    for _ in range(2):
        worker = Worker(tmp_path).stop_after(2)
        worker.run(spec)
    record = read_record(worker.folder(spec))
    note = f"epoch 1: code: {mine.label} -> {other.label}"
    assert record.environment.engine_notes == (note,), "once, though it was resumed twice"


# -- packs ---------------------------------------------------------------------------------------


class Tandem:
    """Several lanes step by step in turn: what a graph of all of them computes."""

    def __init__(self, lanes: list[Lane]) -> None:
        self.lanes = lanes

    def run_epoch(self, epoch: int, on_step: OnStep) -> None:
        for lane in self.lanes:
            lane.begin_epoch(epoch)
        for position, step in enumerate(self.lanes[0].epoch_steps):
            on_step(step)
            for lane in self.lanes:
                lane.use_lr(step)
                lane.train_step(*lane.batch(position))


@pytest.fixture
def tandem(monkeypatch: pytest.MonkeyPatch) -> list[Tandem]:
    """Packs on a CPU; the list has each engine made."""
    made: list[Tandem] = []

    def make(lanes: list[Lane]) -> Tandem:
        made.append(Tandem(lanes))
        return made[-1]

    monkeypatch.setattr(loop, "make_engine", make)
    return made


def packs(tandem: list[Tandem]) -> list[int]:
    return [len(engine.lanes) for engine in tandem]


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, bytes]:
    """What both runs give one after the other."""
    for spec in (SPEC, SECOND):
        finished(tmp_path / "alone", spec)
    return outputs(tmp_path / "alone")


def test_a_packed_run_is_what_it_would_be_alone_and_shares_its_images(
    tmp_path: Path, alone: dict[str, bytes], tandem: list[Tandem]
) -> None:
    ends = Worker(tmp_path / "packed").run(SPEC, SECOND)
    assert [end[1] for end in ends] == ["done", "done"]
    assert packs(tandem) == [2]
    first, second = tandem[0].lanes
    assert first.pipeline._packed is second.pipeline._packed
    assert outputs(tmp_path / "packed") == alone
    folders = [Worker(tmp_path / name).folder(SPEC) for name in ("packed", "alone")]
    assert [read_record(folder).timing.packed for folder in folders] == [2, 1]


def test_a_run_that_ends_early_leaves_the_pack_and_the_rest_continues(
    tmp_path: Path, tandem: list[Tandem], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Lane.evaluate

    def evaluate(self: Lane, images: np.ndarray, labels: np.ndarray) -> Evaluation:
        """Seed 1 never improves, and seed 2 always does."""
        result = real(self, images, labels)
        counts[self] += 1
        return replace(result, top1_err=50.0 if self.spec.seed == 1 else 50.0 - counts[self])

    counts: dict[Lane, int] = defaultdict(int)
    monkeypatch.setattr(Lane, "evaluate", evaluate)
    stopping = {"training__val_in_train": 16, "training__early_stopping": {"patience": 1}}
    total = {"training__schedule__total": 4, "training__batch_size": 32}
    pair = [spec_of(**stopping, **total, seed=seed) for seed in (1, 2)]
    assert [len(finished(tmp_path / "alone", spec).epochs()) for spec in pair] == [2, 4]
    tandem.clear()
    assert [end[1] for end in Worker(tmp_path / "packed").run(*pair)] == ["done", "done"]
    assert packs(tandem) == [2, 1]
    assert outputs(tmp_path / "packed") == outputs(tmp_path / "alone")


def test_the_memory_of_a_graph_is_free_before_a_record_measures_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run that fits in memory once and not twice would be lost at its end, every time."""
    engines: list[weakref.ref[Tandem]] = []
    held: list[tuple[bool, bool, bool]] = []

    def make(lanes: list[Lane]) -> Tandem:
        engine = Tandem(lanes)
        for lane in lanes:
            lane.eval_forward = partial(lane.eval_logits)  # stands for a captured one
        engines.append(weakref.ref(engine))
        return engine

    def finish(attempt: Attempt, *diverged: Diverged | None) -> None:
        lane = attempt.lane
        graded = any(weight.grad is not None for weight in lane.model.parameters())
        captured = lane.eval_forward != lane.eval_logits
        held.append((engines[-1]() is not None, captured, graded))
        real(attempt, *diverged)

    real = loop.finish
    monkeypatch.setattr(loop, "make_engine", make)
    monkeypatch.setattr(loop, "finish", finish)
    assert [end[1] for end in Worker(tmp_path).run(SPEC, SECOND)] == ["done", "done"]
    assert held == [(False, False, False)] * 2


def test_runs_of_a_pack_that_stand_at_different_epochs_continue_apart(
    tmp_path: Path, alone: dict[str, bytes], tandem: list[Tandem]
) -> None:
    Worker(tmp_path / "packed").stop_after(1).run(SPEC)
    tandem.clear()
    ends = Worker(tmp_path / "packed").run(SPEC, SECOND)
    assert [end[1] for end in ends] == ["done", "done"]
    assert packs(tandem) == [1, 1]
    assert outputs(tmp_path / "packed") == alone


def test_what_a_pack_has_not_started_when_a_run_fails_is_left_to_a_new_process(
    tmp_path: Path, alone: dict[str, bytes], tandem: list[Tandem], monkeypatch: pytest.MonkeyPatch
) -> None:
    Worker(tmp_path / "packed").stop_after(1).run(SPEC)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_engine", raising(RuntimeError("operation not permitted")))
        ends = Worker(tmp_path / "packed").run(SPEC, SECOND)
    assert [end[1] for end in ends] == ["failed", "interrupted"]
    Worker(tmp_path / "packed").run(SPEC, SECOND)
    assert outputs(tmp_path / "packed") == alone


def test_a_pack_logs_to_its_first_run_the_others_name_it_and_a_recorded_one_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run that fails says "see its log"."""

    def say_it(_lanes: list[Lane]) -> None:
        os.write(2, b"said by native code\n")
        raise RuntimeError("operation not permitted")

    worker, recorded = Worker(tmp_path), structs.replace(SPEC, seed=3)
    finished(tmp_path, recorded)
    before = worker.folder(recorded).log.read_bytes()
    monkeypatch.setattr(loop, "make_engine", say_it)
    ends = worker.run(SPEC, SECOND, recorded)
    assert {end[1] for end in ends} == {"done", "failed"}
    assert b"said by native code" in worker.folder(SPEC).log.read_bytes()
    assert SPEC.key[:16] in worker.folder(SECOND).log.read_text()
    assert worker.folder(recorded).log.read_bytes() == before


def test_a_results_folder_that_is_removed_while_a_pack_loads_fails_its_runs_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resume(job: Job, *others: Any) -> Attempt:
        found = real(job, *others)
        if job.key == SECOND.key:
            shutil.rmtree(worker.results)
        return found

    real, worker = jobs._resume, Worker(tmp_path / "results")
    monkeypatch.setattr(jobs, "_resume", resume)
    gone = f"{worker.folder(SPEC).log}: No such file or directory. Check the path and run again."
    assert worker.run(SPEC, SECOND) == [(spec.key, "failed", gone) for spec in (SPEC, SECOND)]


def test_a_run_that_is_at_work_elsewhere_or_damaged_is_left_alone(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    third = structs.replace(SPEC, seed=3)
    for spec in (SECOND, third):
        worker.folder(spec).create()
    worker.folder(third).spec.write_text("{}")
    with wait_lock(worker.folder(SECOND).path):
        ends = {key: outcome for key, outcome, _ in worker.run(SPEC, SECOND, third)}
        assert {path.name for path in worker.folder(SECOND).path.iterdir()} == {".lock"}
    assert ends == {SPEC.key: "done", SECOND.key: "running", third.key: "failed"}
    assert worker.said(Fault) == []


# -- budgets -------------------------------------------------------------------------------------


def test_a_budget_that_ends_anywhere_leaves_a_run_that_resumes_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that advances whenever it is read: once an epoch, and twice a step."""
    spec = spec_of(training__schedule__total=4, training__batch_size=32)
    finished(tmp_path / "unbroken", spec)
    clock = itertools.count(1.0)
    monkeypatch.setattr(control, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(attempt, "CHECKPOINT_SHARE", 1e9)
    ends = []
    for ticks in (1, 3, 8, 5, 9, 1e9):
        worker = Worker(tmp_path / "pieces")
        ((_, outcome, text),) = worker.run(spec, deadline=next(clock) + ticks)
        ends.append((outcome, text))
        if outcome == "interrupted":
            state = state_of(worker.folder(spec))
            assert (state.status, state.reason) == (Status.INTERRUPTED, None)
    assert ends[:2] == [("interrupted", "after epoch 0 of 4")] * 2
    assert [end[0] for end in ends[2:]] == ["interrupted"] * 3 + ["done"]
    assert 1 <= int(ends[4][1].split()[2]) < 4
    assert outputs(tmp_path / "pieces") == outputs(tmp_path / "unbroken")


def test_a_stop_names_the_epoch_from_which_the_run_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "CHECKPOINT_SHARE", -1.0)
    worker, before_step = Worker(tmp_path), control.Control.before_step

    def stop_in_the_second_epoch(
        self: control.Control, keys: list[str], total: int, step: int
    ) -> None:
        self.stop = any(isinstance(event, Epoch) for event in worker.events)
        before_step(self, keys, total, step)

    with monkeypatch.context() as patch:
        patch.setattr(control.Control, "before_step", stop_in_the_second_epoch)
        ((_, outcome, text),) = worker.run(SPEC)
    state = state_of(worker.folder(SPEC))
    assert not worker.folder(SPEC).checkpoint.exists()
    assert (outcome, text, state.epoch) == ("interrupted", "after epoch 0 of 2", 0)


def test_an_epoch_that_cannot_end_in_time_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(tmp_path)
    fields = {"deadline": time.monotonic() + 60, "epoch_s": 100.0}
    assert worker.run(SPEC, **fields)[0][1:] == ("interrupted", "after epoch 0 of 2")
    assert not any(isinstance(event, AtStep) for event in worker.events)
    clock = itertools.count(0.0, 1e7)  # the first epoch says what the next one takes
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    ((_, *end),) = Worker(tmp_path / "measured").run(SPEC, deadline=time.monotonic() + 1e6)
    assert end == ["interrupted", "after epoch 1 of 2"]
