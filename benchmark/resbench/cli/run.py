"""``resbench run``: train what suites need and have not run yet."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resbench.cli.options import data_option, results_option
from resbench.cli.planning import (
    Request,
    deadline,
    parse_duration,
    planning_options,
    require_data,
    resolve,
)
from resbench.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from resbench.runner.plan import PlannedRun
    from resbench.runner.session import Summary


@click.command("run")
@planning_options
@data_option
@results_option
@click.option(
    "--cell", "cells", multiple=True, metavar="CELL", help="Only these cells. Repeatable."
)
@click.option("--budget", metavar="TIME", help="Put everything down in time: 9m, 1h30m.")
@click.option("--until", metavar="HH:MM", help="Put everything down by this time of day.")
@click.option("--timeout", metavar="TIME", help="Longest time for one attempt at a run.")
@click.option("--pack", type=click.IntRange(1, 16), default=1, metavar="N",
              help="Train up to N seeds of one network at once on a GPU.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True,
              help="CPU threads a worker; part of what a resumed run must match.")  # fmt: skip
@click.option("--accept-environment", is_flag=True,
              help="Resume runs that were begun in another environment, and mark them.")  # fmt: skip
@click.option("--evidence", is_flag=True, help="Write into the repository's own evidence.")
@click.option("--tracking-uri", metavar="URI", help="MLflow store of the mirror.")
@click.option("--no-mirror", is_flag=True, help="Do not mirror to MLflow now.")
def command(results: Path, cells: tuple[str, ...], **options: Any) -> int:
    """Train what the suites need and have not run yet.

    A run that is recorded is never trained again; one that was interrupted goes on from its last
    checkpoint. Run the same command again at any time.
    """
    from resbench.runner.plan import plan
    from resbench.runner.throughput import Throughput
    from resbench.store.layout import ResultsFolder
    from resbench.store.scan import scan

    fields = Request.__dataclass_fields__
    request = Request(**{name: options[name] for name in fields})
    end = deadline(options["budget"], options["until"])
    timeout = options["timeout"] and parse_duration("--timeout", options["timeout"])
    suites, sources, devices = resolve(request)
    runs = plan(suites, sources)
    runs = _only(runs, cells) if cells else runs
    if not runs:
        click.echo("Nothing to train: these tables are counted. See `resbench report`.", err=True)
        return ExitCode.OK
    folder = ResultsFolder(results.absolute())
    folder.open_for_writing(evidence=options["evidence"])
    found = scan(folder.path)
    for problem in found.problems:
        click.echo(f"warning: {problem}", err=True)
    todo = [run for run in runs if run.key not in found.records]
    done = len(runs) - len(todo)
    if not todo:
        click.echo(
            f"All {done} runs are recorded in {results}. {_next(request, results)}", err=True
        )
        return ExitCode.OK
    require_data(sources, {run.spec.data.name for run in todo})
    click.echo(
        f"{len(todo)} runs to do, {done} recorded; {len(devices)} worker(s) on "
        f"{devices[0].label}; results in {results}",
        err=True,
    )
    from resbench.cli.session import work

    summary = work(
        todo, folder.path, devices, Throughput.measured(found.records.values()),
        deadline=end, timeout_s=timeout or None, options=options,
    )  # fmt: skip
    return _conclude(summary, todo, request, results)


def _only(runs: list[PlannedRun], cells: Sequence[str]) -> list[PlannedRun]:
    from resbench.errors import did_you_mean

    known = dict.fromkeys(place.cell for run in runs for place in run.places)
    for cell in cells:
        if cell not in known:
            raise UsageError(f"--cell {cell}: unknown cell.{did_you_mean(cell, known)}")
    return [run for run in runs if any(place.cell in cells for place in run.places)]


def _conclude(summary: Summary, todo: list[PlannedRun], request: Request, results: Path) -> int:
    """Print what came of it; return the exit code."""
    parts = {
        "done": summary.count("done"),
        "diverged": summary.count("diverged"),
        "failed": summary.count("failed", "oom", "timeout"),
        "left": len(summary.left),
    }
    click.echo(
        ", ".join(f"{n} {word}" for word, n in parts.items() if n or word == "done"), err=True
    )
    if summary.left and not summary.faults:
        nothing_started = not summary.outcomes and summary.signal is None
        if nothing_started:
            click.echo(
                "No epoch of a run that is left fits into the time given; nothing was started.",
                err=True,
            )
        labels = [run.label for run in summary.left]
        shown = "; ".join(labels[:5]) + (f"; and {len(labels) - 5} more" if len(labels) > 5 else "")
        click.echo(f"left: {shown}. Run the same command again to go on.", err=True)
    for fault in summary.faults:
        click.echo(fault, err=True)
    if summary.faults:
        return ExitCode.ENVIRONMENT
    if summary.signal is not None:
        return 128 + summary.signal
    if parts["failed"]:
        logs = results / "runs"
        click.echo(f"Failed runs are tried again next time; their logs are under {logs}.", err=True)
        return ExitCode.RUNS_FAILED
    if sys.stderr.isatty() or not summary.left:
        click.echo(_next(request, results), err=True)
    return ExitCode.OK


def _next(request: Request, results: Path) -> str:
    where = "" if results == Path("results") else f" --results {results}"
    return f"See `resbench report {' '.join(request.suites)}{where}`."
