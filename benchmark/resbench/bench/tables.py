"""What all CIFAR tables would take, from measured images per second and the suites themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from msgspec import structs

from resbench.analysis.declared import declared
from resbench.bench.contest import Bench, Reading
from resbench.bench.measure import Spread
from resbench.data.sources import identify
from resbench.runner.plan import PlannedRun, plan
from resbench.runner.throughput import Throughput, kind_of
from resbench.suite.catalog import load_suite, suite_names
from resbench.suite.spec import RunSpec
from resbench.train.calibrate import calibrate
from resbench.train.run import CALIBRATION_STEPS

SEEDS = (1, 2, 3)
Rates = Callable[[RunSpec], tuple[float, float]]
"""Training and evaluation images per second of a specification."""


def every_table(bench: Bench) -> list[Reading]:
    """Hours for every run of every CIFAR suite, one after the other on this device."""
    steps = CALIBRATION_STEPS[bench.device.type]
    runs = [run for run in cifar_runs() if not bench.quick or run.spec.seed == 1]
    runs = [replace(run, spec=structs.replace(run.spec, **bench.defaults)) for run in runs]
    hours, kinds = estimate(
        runs, lambda spec: calibrate(spec, bench.device, steps, lambda _step: None)
    )
    note = f"an estimate: {len(runs)} runs of {kinds} kinds, a few steps of each kind measured"
    return [Reading(Spread.of([hours]), note=note)]


def cifar_runs() -> list[PlannedRun]:
    """Return every run of the shipped suites on CIFAR, each once, at three seeds."""
    suites = [replace(declared(load_suite(name)), seeds=SEEDS) for name in suite_names()]
    sources = {name: identify(name, {}) for name in ("cifar10", "cifar100", "digits")}
    return [run for run in plan(suites, sources) if run.spec.data.name != "digits"]


def estimate(runs: list[PlannedRun], rates: Rates) -> tuple[float, int]:
    """Return the hours that ``runs`` take and how many kinds of run were measured for it."""
    known, seconds = Throughput(), 0.0
    for run in runs:
        if kind_of(run.spec, "here") not in known.rates:
            known.learn(run.spec, "here", *rates(run.spec))
        seconds += known.seconds(run.spec, "here") or 0.0
    return seconds / 3600, len(known.rates)
