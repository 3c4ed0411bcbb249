"""From the options of `run` and `plan` to expanded suites and their runs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resbench.analysis.checks import check_declared
from resbench.analysis.declared import declared
from resbench.analysis.names import cells_of
from resbench.analysis.plan import PlannedTime
from resbench.data.fit import check_fit
from resbench.data.sources import how_to_get, identify, parse_locations
from resbench.errors import UsageError, did_you_mean
from resbench.runner.devices import Device, choose, need_compiler
from resbench.runner.plan import PlannedRun, plan
from resbench.runner.throughput import Throughput
from resbench.store.scan import Scan
from resbench.suite.expand import Context, DataChoice, Expanded, data_names, expand
from resbench.suite.load import PAPER, load_suites, load_tier
from resbench.suite.spec import Engine, Precision
from resbench.suite.yaml import plain_value
from resbench.words import count


def parse_override(text: str) -> tuple[str, Any]:
    """Parse ``KEY=VALUE``; the value is a number, other JSON, or else text."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {text}: must be KEY=VALUE, like training.optim.lr=0.05.")
    try:
        return key, json.loads(value, parse_constant=str)
    except (ValueError, RecursionError):  # YAML takes more: .05, 1. and +0.1
        return key, plain_value(value) if value else ""


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse ``3`` (seeds 1 to 3), ``1,5,9``, or ``3,`` (seed 3 alone)."""
    if re.fullmatch(r"[1-9]\d{0,3}", text):
        return tuple(range(1, int(text) + 1))
    if "," in text and re.fullmatch(r"\d{1,9}(,\d{1,9})*,?", text):
        seeds = tuple(int(part) for part in text.rstrip(",").split(","))
        if len(set(seeds)) == len(seeds):
            return seeds
    raise UsageError(f"--seeds {text}: give how many ('3' for 1 to 3) or a list ('1,5,9').")


def plan_request(
    suites: Iterable[str],
    *,
    data: Sequence[str] = (),
    tier: str = PAPER.name,
    seeds: str | None = None,
    cells: Sequence[str] = (),
    set_: Sequence[str] = (),
    devices: str | None = "auto",
    jobs: int | None = None,
    engine: Engine = "eager",
    precision: Precision = "fp32",
) -> tuple[list[Expanded], list[PlannedRun], list[Device]]:
    """Expand suites as the options say, and plan their runs for this machine's data and devices.

    Without ``devices`` those of another machine are meant, and none is returned.

    Raises:
        ResbenchError: every problem that the user can fix.
    """
    loaded = [(suite, load_tier(tier, suite.document.path)) for suite in load_suites(suites)]
    for one, _ in loaded:
        check_declared(declared(one))
    overrides = tuple(map(parse_override, set_))
    if twice := [key for key, n in Counter(key for key, _ in overrides).items() if n > 1]:
        raise UsageError(f"--set {twice[0]}: is given twice. Leave one out.")
    chosen = [] if devices is None else _choose(devices, jobs, engine, precision)
    locations = parse_locations(data)
    found = (data_names(suite, tier_, overrides) for suite, (tier_, _) in loaded)
    names = dict.fromkeys(name for names in found for name in names)
    sources = {name: identify(name, locations) for name in names}
    choices = {name: DataChoice(name, s.label, s.id) for name, s in sources.items()}
    context = Context(engine, precision, choices, tier, overrides)
    numbers = None if seeds is None else parse_seeds(seeds)
    expanded = [expand(suite, context, tier_, numbers) for suite, tier_ in loaded]
    runs = plan(expanded, sources)
    if cells:
        counted = [] if runs else [cell.id for suite in expanded for cell in suite.cells]
        runs = _of_cells(runs, cells, counted)
        named = {suite for run in runs for suite, _ in run.cells}
        expanded = [suite for suite in expanded if counted or suite.loaded.suite.name in named]
    filled = {cell for run in runs for cell in run.cells}
    for suite in expanded:
        check_fit(c for c in suite.cells if (suite.loaded.suite.name, c.id) in filled)
    return expanded, runs, chosen


def _of_cells(
    runs: Sequence[PlannedRun], wanted: Sequence[str], counted: Sequence[str]
) -> list[PlannedRun]:
    """Return the runs of some cells; a level, like ``arl``, names all its cells."""
    named = {run.key: {n for _, c in run.cells for n in (c, *c.split("/"))} for run in runs}
    cells = dict.fromkeys([*(cell for run in runs for _, cell in run.cells), *counted])
    known = dict.fromkeys([*cells, *(level for cell in cells for level in cell.split("/"))])
    for cell in wanted:
        if cell not in known:
            raise UsageError(f"--cell {cell}: unknown cell.{did_you_mean(cell, known)}")
    return [run for run in runs if not named[run.key].isdisjoint(wanted)]


def _choose(names: str, jobs: int | None, engine: Engine, precision: Precision) -> list[Device]:
    """Return this machine's devices, which must be able to do what is asked."""
    devices = choose(names, jobs)
    on_gpus = all(device.is_gpu for device in devices)
    if engine != "eager" and not on_gpus:
        raise UsageError(
            f"--engine {engine}: CUDA graphs need a GPU. Use --engine eager, or --devices cuda."
        )
    if precision == "bf16" and not on_gpus:
        raise UsageError("--precision bf16: needs a GPU. Use --precision fp32, or --devices cuda.")
    if engine == "graph+compile":
        need_compiler()
    return devices


def warnings_of(runs: Iterable[PlannedRun], found: Scan) -> list[str]:
    """Return what is wrong with a results folder, and how many of ``runs`` an edit makes it lack.

    Of those it has a finished run of the same cell, seed and setting with another key.
    """
    records = found.records.values()
    older = {
        made for run in records for made in _made_for(run.context, cells_of(run), run.spec["seed"])
    }
    again = 0
    for run in runs:
        cells = [" ".join(cell) for cell in run.cells]
        mine = _made_for(run.stored_context(), cells, run.spec.seed)
        again += run.key not in found.records and not mine.isdisjoint(older)
    lines = list(found.problems)
    if again:
        lines.append(
            f"{count(again, 'run')} to do again: the suite, its protocol, its networks.py, a tier "
            "or resbench has changed since they were recorded. The old records stay."
        )
    return lines


def _made_for(
    context: Mapping[str, Any], cells: Iterable[str], seed: int
) -> set[tuple[str, str, int]]:
    setting = {name: value for name, value in context.items() if name != "cells"}
    return {(json.dumps(setting, sort_keys=True), cell, seed) for cell in cells}


def missing_data(runs: Iterable[PlannedRun]) -> dict[str, str]:
    """Return, for each data set of ``runs`` that is not available, a line that says what to do."""
    names = sorted({run.spec.data.name for run in runs if not run.source.available})
    return {name: f"{name}: not available. {how_to_get(name)}" for name in names}


def planned_times(runs: Iterable[PlannedRun], found: Scan, device: Device) -> list[PlannedTime]:
    """Return the runs with the time that each has left on a device."""
    throughput = Throughput.of(found.records.values())
    times, behind = [], found.epochs
    for run in runs:
        record, epochs = found.records.get(run.key), behind.get(run.key, 0)
        left_s = 0.0 if record else throughput.seconds(run.spec, device, epochs)
        measured = throughput.is_measured(run.spec, device)
        times.append(PlannedTime(tuple(run.cells), run.spec.seed, record, epochs, left_s, measured))
    return times
