"""``resbench plan``: what would run, how long it takes, and what it can decide."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resbench.cli.options import format_option, show
from resbench.cli.planning import (
    Request,
    chosen_runs,
    expand_request,
    missing_data,
    parse_budget,
    planning_options,
)

if TYPE_CHECKING:
    from resbench.analysis.budget import PlannedTime
    from resbench.runner.devices import Device
    from resbench.runner.plan import PlannedRun
    from resbench.store.scan import Scan


@click.command("plan")
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@planning_options
@format_option
def command(results: Path, budget: str | None, format_: str | None, **options: Any) -> None:
    """Show what would run, how long it takes, and what it can decide.

    Without SUITE: a line for every shipped suite. With --budget: what is done within that time.
    Trains and writes nothing, and needs no data set.
    """
    from resbench.report.plan_page import Machine, plan_document
    from resbench.runner.devices import like_the_first
    from resbench.store.scan import scan
    from resbench.suite.load import suite_names

    budget_s = None if budget is None else parse_budget(budget)
    named = options.pop("suites")
    request = Request(**options, suites=named or tuple(suite_names()))
    suites, sources, devices = expand_request(request)
    runs, found = chosen_runs(request, suites, sources), scan(results)
    for problem in found.problems:
        click.echo(f"warning: {problem}", err=True)
    missing = missing_data(sources, {run.spec.data.name for run in runs})
    document = plan_document(
        suites,
        _times(runs, found, devices[0]),
        Machine(devices[0].label, like_the_first(devices), devices[0].is_gpu, missing),
        _run_command(),
        budget_s,
        overview=not named,
    )
    show(document, format_)


def _times(runs: list[PlannedRun], found: Scan, device: Device) -> list[PlannedTime]:
    from resbench.analysis.budget import PlannedTime
    from resbench.runner.throughput import Throughput

    throughput = Throughput.of(found.records.values())
    started = {run.key: run.state.epoch for run in found.incomplete if run.state is not None}
    times = []
    for run in runs:
        cells = tuple(run.cells)
        record, epochs = found.records.get(run.key), started.get(run.key, 0)
        left_s = 0.0 if record else throughput.seconds(run.spec, device, epochs)
        measured = throughput.is_measured(run.spec, device)
        times.append(PlannedTime(cells, run.spec.seed, record, epochs, left_s, measured))
    return times


def _run_command() -> str:
    """Return the command line that runs this very plan."""
    words = sys.argv[1:]
    words[words.index("plan")] = "run"
    kept = []
    skip = False
    for word in words:
        if not (skip or word.startswith("--format")):
            kept.append(word)
        skip = word == "--format"
    return shlex.join(["resbench", *kept])
