"""Plans worked through by the real runner: what it costs beside the workers' own time."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from resbench.analysis.declared import declared
from resbench.bench.contest import TINY, Bench, Reading, ratios
from resbench.bench.measure import Contender, Spread, children_cpu_seconds, take_turns
from resbench.data.sources import identify
from resbench.runner.devices import Device, choose
from resbench.runner.plan import PlannedRun, plan
from resbench.runner.session import Session, Settings
from resbench.runner.throughput import Throughput
from resbench.runner.worker import Worker
from resbench.store.job import Job
from resbench.store.layout import ResultsFolder
from resbench.suite.catalog import load_suite
from resbench.suite.expand import expand

Overrides = tuple[tuple[str, Any], ...]
PARENT = (sys.executable, "-P", "-m", "resbench.bench.parent")


def queue_against_bare_workers(bench: Bench) -> list[Reading]:
    """The runner's queue over its workers against the same workers with their shares in hand."""
    devices = choose("cpu", None)
    runs = _tiny_runs(*((64, 2) if bench.quick else (1024, 4 * len(devices))))
    contenders = [
        Contender("the runner's queue", len(runs), lambda: _queued(runs, devices)),
        Contender("bare workers", len(runs), lambda: _bare(runs, devices)),
    ]
    rows = ratios(take_turns(contenders, bench.rounds(3), warm_up=False), "runs/s")
    return [replace(rows[0], note=f"{len(devices)} workers, {len(runs)} runs")]


def runner_overhead(bench: Bench) -> list[Reading]:
    """CPU time of the parent in percent of its workers'."""
    devices = choose("cpu", None)
    runs = _tiny_runs(*((64, 2) if bench.quick else (1024, 4 * len(devices))))
    shares = []
    for _ in range(bench.rounds(3)):
        own_s, workers_s = time.process_time(), children_cpu_seconds()
        _queued(runs, devices)
        own_s, workers_s = time.process_time() - own_s, children_cpu_seconds() - workers_s
        shares.append(100 * own_s / workers_s)
    return [Reading(Spread.of(shares), note=f"{len(devices)} workers, {len(runs)} runs")]


def parent_memory(bench: Bench) -> list[Reading]:
    """Growth of the parent's memory while 1,000 runs go by, in a process of its own."""
    runs = 50 if bench.quick else 1000
    done = subprocess.run([*PARENT, str(runs)], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    note = f"{runs} runs of workers that pretend, {told['cpu_ms_a_run']:.1f} ms of CPU time a run"
    return [Reading(Spread.of([told["growth_mb"]]), note=note)]


def first_step(bench: Bench) -> list[Reading]:
    """Seconds from the start of a worker process to the first step of its first run."""
    device = choose(str(bench.device), 1)[0]
    net: Overrides = (("model.name", "attention-92"), ("model.width", 1.0)) if bench.on_gpu else ()
    run = _tiny_runs(1024, 1, net, **bench.defaults)[0]
    timed = take_turns(
        [Contender("start", 1, lambda: _to_first_step(run, device))], bench.rounds(5)
    )
    return [Reading(Spread.of([1 / rate for rate in timed[0].wall]))]


def _to_first_step(run: PlannedRun, device: Device) -> None:
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(device, 1)
        try:
            worker.start([run], [_job(run, device, _results(folder))])
            events: list[dict[str, Any]] = []
            while not any(event["event"] == "step" for event in events):
                select.select([worker.descriptor], [], [])
                events, ended = worker.read()
                if ended:
                    raise RuntimeError(f"the worker ended before its first step: {events}")
        finally:
            worker.process.kill()
            worker.close()


def _tiny_runs(images: int, seeds: int, more: Overrides = (), **changes: Any) -> list[PlannedRun]:
    """Return equal runs of one epoch of the smoke suite's network on the bundled digits."""
    suite, cell = TINY
    whole = declared(load_suite(suite))
    overrides: Overrides = (
        ("training.schedule.total", 1), ("training.schedule.drops", []),
        ("data.train_images", images), *more,
    )  # fmt: skip
    context = replace(whole.context, overrides=overrides, **changes)
    expanded = expand(whole.loaded, context, seeds=tuple(range(1, seeds + 1)))
    only = replace(expanded, cells=(expanded.cell(cell),))
    return plan([only], {"digits": identify("digits", {})})


def _queued(runs: Sequence[PlannedRun], devices: Sequence[Device]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_results(folder), devices)
        summary = Session(runs, settings, Throughput()).run()
    if summary.count("done") != len(runs):
        raise RuntimeError(f"the queue did not finish its runs: {summary.outcomes}")


def _bare(runs: Sequence[PlannedRun], devices: Sequence[Device]) -> None:
    """Give every worker its share at once and wait until all have ended."""
    with tempfile.TemporaryDirectory() as folder:
        results, workers = _results(folder), [Worker(device, 1) for device in devices]
        for worker, device, number in zip(workers, devices, range(len(devices)), strict=True):
            for run in runs[number :: len(devices)]:
                worker.start([run], [_job(run, device, results)])
            assert worker.process.stdin is not None
            worker.process.stdin.close()
        codes = [worker.process.wait() for worker in workers]
        for worker in workers:
            worker.close()
        finished = len(list((results / "runs").glob("*/record.json")))
    if any(codes) or finished != len(runs):
        raise RuntimeError(f"bare workers: exit codes {codes}, {finished} of {len(runs)} runs")


def _results(folder: str) -> Path:
    results = ResultsFolder(Path(folder) / "results")
    results.open_for_writing()
    return results.path


def _job(run: PlannedRun, device: Device, results: Path) -> Job:
    return Job(
        key=run.key,
        spec=run.spec.canonical(),
        context=run.stored_context(),
        source=asdict(run.source),
        results=str(results),
        device=device.name,
    )
