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
    planning_options,
)

if TYPE_CHECKING:
    from resbench.report.plan import PlannedTime
    from resbench.runner.devices import Device
    from resbench.runner.plan import PlannedRun
    from resbench.store.scan import Scan


@click.command("plan")
@click.argument("suites", nargs=-1, required=True, metavar="SUITE...")
@planning_options
@format_option()
def command(results: Path, format_: str | None, **options: Any) -> None:
    """Show what would run, how long it takes, and what it can decide.

    Nothing is trained or written; data sets need not be at hand.
    """
    from resbench.report.plan import Machine, plan_document
    from resbench.store.scan import scan

    options.pop("budget")
    request = Request(**options)
    suites, sources, devices = expand_request(request)
    runs, found = chosen_runs(request, suites, sources), scan(results)
    for problem in found.problems:
        click.echo(f"warning: {problem}", err=True)
    machine = Machine(
        devices[0].label,
        len(devices),
        missing_data(sources, {run.spec.data.name for run in runs}),
    )
    document = plan_document(suites, _estimates(runs, found, devices), machine, _run_command())
    show(document, format_)


def _estimates(runs: list[PlannedRun], found: Scan, devices: list[Device]) -> list[PlannedTime]:
    from resbench.report.plan import PlannedTime
    from resbench.runner.throughput import Throughput

    throughput = Throughput.of(found.records.values())
    begun = {run.key: run.state.epoch for run in found.incomplete if run.state is not None}
    fresh: dict[tuple[str, str], float | None] = {}  # all seeds of a cell take as long
    estimates = []
    for run in runs:
        places = tuple((place.suite, place.cell) for place in run.places)
        record, epochs = found.records.get(run.key), begun.get(run.key, 0)
        left: float | None = 0.0
        if record is None and epochs:
            left = throughput.seconds(run.spec, devices[0], epochs)
        elif record is None:
            if places[0] not in fresh:
                fresh[places[0]] = throughput.seconds(run.spec, devices[0])
            left = fresh[places[0]]
        estimates.append(PlannedTime(places, run.spec.seed, record, epochs, left))
    return estimates


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
