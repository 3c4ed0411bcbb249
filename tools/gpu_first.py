"""The first quarter of an hour on a GPU: does the CUDA path compute the same, and how fast is it?

Usage: ``python -m tools.gpu_first [--out results/bench/gpu] [--device cuda] [PHASE...]``. It needs
torch and the packages of resbench, but no MLflow. Each phase is a process with a limit of its own,
so that one that hangs costs only itself. Every finding is a JSON line in ``first.jsonl`` as soon as
it is known, and what the phases print is in ``first.log``. A phase that has ended well, without a
``fault`` among its findings, is skipped next time, so an interrupted command resumes; another GPU
or torch needs another ``--out``. Where a machine keeps no file between two commands, name the
phases of each. On ``--device cpu`` it shows that everything works, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace

from resbench.runner.worker import worker_variables
from resbench.suite.spec import RunSpec
from resbench.train.environment import environment, find_device, set_up_device
from resbench.train.jobs import free_memory
from tools.speed.comparisons import Bench
from tools.speed.ours import ATTENTION_92, Ours, spec_of
from tools.speed.peer import Peer

ROOT = Path(__file__).resolve().parents[1]
Finding = dict[str, Any]

KINDS = (
    ("table1_arl_vs_nal", "attention-56/arl"),
    ("table1_arl_vs_nal", "attention-56/nal"),
    ("attention_type", "channel"),
    ("attention_type", "spatial"),
    ("table3_mask", "local"),
    ("resnet164_he2016", "resnet-164/cifar10"),
    ("table7_cifar10_report", "attention-56"),
)
"""A cell of every kind of network that the shipped suites have."""


def env(bench: Bench) -> Iterator[Finding]:
    """Tell the machine: its versions, the speed of a copy, the time of a small kernel."""
    yield environment(bench.device)
    if bench.quick:
        return
    source = torch.ones(1 << 30, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    seconds = timed(bench, lambda: [target.copy_(source) for _ in range(50)])
    yield {"copy_tb_s": round(100 * (1 << 30) / seconds / 1e12, 2)}
    x, graph = torch.zeros(64, device=bench.device), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(2000):
            x.add_(1)
    yield {"us_a_dependent_kernel": round(timed(bench, graph.replay) / 2000 * 1e6, 2)}


def tests(bench: Bench, which: str) -> Iterator[Finding]:
    """Run the tests that need a GPU, as ``pytest -k`` chooses them."""
    if bench.quick:
        return
    command = [sys.executable, "-m", "pytest", "-v", "-n4", "-m", "gpu", "-k", which, "tests/gpu"]
    command += ["-W", "default"]  # what that machine's packages warn of while they are imported
    code = subprocess.run(command, cwd=ROOT).returncode
    yield {"exit_code": code} | ({"fault": "see the log"} if code else {})


def kinds(bench: Bench) -> Iterator[Finding]:
    """Compare the first step's gradients of the engines, and with the CPU's, by kind of network."""
    for suite, cell in KINDS:
        kind: Finding = {"kind": f"{suite} {cell}", "precision": "fp32"}
        spec = spec_of((suite, cell), batch_size=32)
        spec = replace(spec, model=replace(spec.model, width=0.25))
        if hasattr(spec.model, "dropout"):  # a CPU and a GPU drop other features at one seed
            spec = replace(spec, model=replace(spec.model, dropout=0.0))
        if bench.quick:
            spec = replace(spec, data=replace(spec.data, image_px=16))
            plain, again = (_first_gradients(bench.device, spec) for _ in range(2))
            yield kind | _apart("again", plain, again)
            continue
        half, cpu = replace(spec, precision="bf16"), torch.device("cpu")
        ways = [
            # A library may be wrong on this GPU alone (pytorch#150700), and both engines alike.
            # Rounding in another order moves these gradients by up to 0.17 of their size.
            ("cpu", spec, (cpu, spec), 0.5),
            ("graph", spec, (bench.device, replace(spec, engine="graph")), 0.0),
            ("graph", half, (bench.device, replace(half, engine="graph")), 0.02),
        ]
        for against, ours, theirs, most in ways:
            try:
                plain, other = _first_gradients(bench.device, ours), _first_gradients(*theirs)
                found = _apart(against, plain, other, most)
            except RuntimeError as error:  # the next way may still do
                found = {"against": against, "fault": str(error)}
            yield kind | {"precision": ours.precision} | found


def _first_gradients(device: torch.device, spec: RunSpec) -> dict[str, torch.Tensor]:
    ours = Ours(spec, device, 1)
    ours.epoch()
    parameters = ours.lanes[0].model.named_parameters()
    return {name: p.grad.cpu() for name, p in parameters if p.grad is not None}


def _apart(
    against: str,
    ours: dict[str, torch.Tensor],
    theirs: dict[str, torch.Tensor],
    most: float = 0.0,
) -> Finding:
    """Return how far gradients are apart, relative to their size; a fault beyond ``most``."""
    a, b = (torch.cat([grads[name].flatten() for name in ours]) for grads in (ours, theirs))
    apart = float((a - b).norm() / a.norm())
    found: Finding = {"against": against, "apart": float(f"{apart:.2g}")}
    # a NaN is a fault too
    return found | ({} if apart <= most else {"fault": f"they differ by {apart:.2g} of their size"})


def steps(bench: Bench) -> Iterator[Finding]:
    """Time a step of Attention-92 by precision, lanes and engine."""
    ways = [
        ("fp32", 1, "eager"), ("fp32", 1, "graph"), ("bf16", 1, "graph"), ("bf16", 4, "graph"),
        ("bf16", 8, "graph"),
    ]  # fmt: skip
    for precision, lanes, engine in [("fp32", 1, "eager")] if bench.quick else ways:
        number = bench.steps(20 if engine == "eager" else 150)
        try:
            yield _timed_steps(bench, number, lanes, precision=precision, engine=engine)
        except RuntimeError as error:  # the next way may still do
            yield {"precision": precision, "lanes": lanes, "engine": engine, "fault": str(error)}


def compiled(bench: Bench) -> Iterator[Finding]:
    """Time a step with compiled units."""
    engine = "eager" if bench.quick else "graph+compile"
    yield _timed_steps(bench, bench.steps(150), 1, precision="fp32", engine=engine)


def _timed_steps(bench: Bench, number: int, lanes: int, **changes: Any) -> Finding:
    on_gpu = bench.device.type == "cuda"
    if on_gpu:
        free_memory()
        torch.cuda.reset_peak_memory_stats(bench.device)
    started = time.perf_counter()
    ours = Ours(bench.spec(ATTENTION_92, **changes), bench.device, number, lanes=lanes)
    ours.epoch()
    bench.synchronize()
    first = time.perf_counter() - started
    seconds = timed(bench, ours.epoch)
    found = {
        **changes,
        "lanes": lanes,
        "first_epoch_s": round(first, 1),
        "ms_a_step": round(seconds / number * 1e3, 3),
        "images_s": round(ours.images / seconds),
    }
    if on_gpu:
        found["peak_gb"] = round(torch.cuda.max_memory_reserved(bench.device) / 1e9, 2)
    if lanes == 1:
        ours.test()
        found["test_images_s"] = round(ours.images / timed(bench, ours.test))
    return found


def peer(bench: Bench) -> Iterator[Finding]:
    """Time the usual loop on the same network and images."""
    spec = bench.spec(ATTENTION_92, precision="fp32", engine="eager")
    ours = Ours(spec, bench.device, bench.steps(40))
    for flags in (False, True):
        loop = Peer(spec, ours.lanes[0].images, bench.device, flags=flags)
        with loop.settings():
            loop.train_epoch()
            seconds = timed(bench, loop.train_epoch)
        yield {
            "loop": "peer, flags on" if flags else "peer",
            "images_s": round(ours.images / seconds),
        }


def smoke(bench: Bench) -> Iterator[Finding]:
    """Train runs by each engine: stopped, resumed and packed they must be what they are alone."""
    cli = [sys.executable, "-P", "-m", "resbench"]
    command = [*cli, "run", "smoke", "--no-mirror", f"--devices={bench.device.type}"]
    compare = [*cli, "compare", "stopped", "unbroken"]
    graph = ["--engine=graph", "--precision=bf16", "--seeds=2", "--cell=report2019/nal"]
    for options, pack in [([], [])] if bench.quick else [([], []), (graph, ["--pack=2"])]:
        run = [*command, "--cell=mixed/arl", *options]
        yield {"options": options + pack, **_stopped_and_resumed(run, pack, compare)}


def _stopped_and_resumed(
    command: Sequence[str], pack: Sequence[str], compare: Sequence[str]
) -> Finding:
    """Stop a command once a run has an epoch, call it again, and compare with an unbroken one."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        stopped = [*command, *pack, "--results=stopped"]
        running = subprocess.Popen(stopped, cwd=folder)
        while running.poll() is None and not any(Path(folder).rglob("metrics.jsonl")):
            time.sleep(0.05)
        first = time.perf_counter() - started
        running.terminate()
        found = {"first_epoch_s": round(first, 1), "stopped_with": running.wait()}
        others = {
            "resumed_with": stopped,
            "unbroken_with": [*command, "--results=unbroken"],
            "compared_with": compare,
        }
        for name, other in others.items():
            found[name] = subprocess.run(other, cwd=folder).returncode
        found["s"] = round(time.perf_counter() - started, 1)
    well = found["stopped_with"] == 128 + signal.SIGTERM and not any(map(found.get, others))
    return found | ({} if well else {"fault": "see the log"})


PHASES: dict[str, tuple[Callable[[Bench], Iterator[Finding]], int]] = {
    "env": (env, 40),
    "kinds": (kinds, 150),
    "tests": (partial(tests, which="not compile"), 120),
    "smoke": (smoke, 160),
    "steps": (steps, 120),
    "peer": (peer, 70),
    "compiled": (compiled, 120),
    "compile-tests": (partial(tests, which="compile"), 120),
}
"""Each phase and its limit in seconds; what tells most comes first."""


def timed(bench: Bench, work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes on the device, after everything before it."""
    bench.synchronize()
    started = time.perf_counter()
    work()
    bench.synchronize()
    return time.perf_counter() - started


def note(out: Path, phase: str, finding: Finding) -> None:
    """Append a finding to the lines."""
    with (out / "first.jsonl").open("a") as file:
        file.write(json.dumps({"phase": phase, **finding}, default=str) + "\n")


def findings(out: Path) -> list[Finding]:
    """Return every line noted so far."""
    path = out / "first.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def note_all(out: Path, phase: str, found: Iterable[Finding]) -> bool:
    """Note each finding when it is there; say whether one is a fault."""
    faulty = False
    for finding in found:
        note(out, phase, finding)
        faulty |= "fault" in finding
    return faulty


def run_within(limit_s: float, command: Sequence[str], log: Path) -> int | str:
    """Run a command to its end or its limit, with all that it starts; say how it ended."""
    variables = {**worker_variables(), "PYTHONPATH": os.pathsep.join(sys.path)}
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=file, stderr=file, start_new_session=True
        )
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return f"over its limit of {limit_s} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers of a run follow it
        with suppress(subprocess.TimeoutExpired):  # a kernel that spins may keep it
            process.wait(30)


def conduct(out: Path, device: str, phases: Sequence[str]) -> int:
    """Run the phases that have not ended well yet, each in a process; return the exit code."""
    out.mkdir(parents=True, exist_ok=True)
    known = findings(out)
    well = {line["phase"] for line in known if line.get("ended") == 0}
    failed = False
    for phase in (phase for phase in phases if phase not in well):
        command = [sys.executable, "-m", "tools.gpu_first", "--out", str(out), "--device", device]
        log = out / "first.log"
        with log.open("a") as file:
            file.write(f"== {phase}\n")
        ended = run_within(PHASES[phase][1], [*command, "--inside", phase], log)
        note(out, phase, {"ended": ended})
        failed |= ended != 0
        new, known = findings(out)[len(known) :], findings(out)
        print(*map(json.dumps, new), sep="\n", flush=True)
    return failed


def main(arguments: Sequence[str]) -> int:
    """Run phases, or one phase inside its own process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phases", nargs="*", metavar="PHASE", help=", ".join(PHASES))
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "bench" / "gpu")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--inside", choices=PHASES, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if unknown := [phase for phase in chosen.phases if phase not in PHASES]:
        parser.error(f"unknown phase {unknown[0]}; there are {', '.join(PHASES)}")
    if chosen.inside is None:
        return conduct(chosen.out.resolve(), chosen.device, chosen.phases or list(PHASES))
    device = find_device(chosen.device)
    set_up_device(device, threads=1)
    found = PHASES[chosen.inside][0](Bench(device, quick=device.type != "cuda"))
    return note_all(chosen.out, chosen.inside, found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
