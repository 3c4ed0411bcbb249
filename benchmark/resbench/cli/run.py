"""``resbench run``: train what suites need and have not run yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resbench.cli.options import data_option, results_option, tracking_option
from resbench.cli.planning import (
    Request,
    deadline,
    expand_request,
    missing_data,
    parse_duration,
    planning_options,
)
from resbench.errors import EnvironmentFault, ExitCode, UsageError, did_you_mean
from resbench.words import count, duration, invocation

if TYPE_CHECKING:
    from resbench.analysis.results import Results
    from resbench.runner.devices import Device
    from resbench.runner.plan import PlannedRun
    from resbench.runner.session import Summary
    from resbench.suite.expand import Expanded


FAILED = ("failed", "oom", "timeout")


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
@click.option(
    "--pack",
    type=click.IntRange(1, 16),
    default=1,
    metavar="N",
    help="Train up to N seeds of one network at once on a GPU.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="CPU threads a worker; part of what a resumed run must match.",
)
@click.option(
    "--accept-environment",
    is_flag=True,
    help="Resume runs that were begun in another environment, and mark them.",
)
@tracking_option
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

    request = Request(**{name: options[name] for name in Request.__dataclass_fields__})
    end = deadline(options["budget"], options["until"])
    timeout = options["timeout"]
    timeout_s = None if timeout is None else parse_duration("--timeout", timeout)
    suites, sources, devices = expand_request(request)
    if options["pack"] > 1 and suites[0].context.engine == "eager":
        raise UsageError(
            f"--pack {options['pack']}: seeds are packed on a GPU with a graph engine, and this "
            "plan has neither. Leave --pack out."
            if not devices[0].is_gpu
            else f"--pack {options['pack']}: needs a graph engine. Leave --engine eager out."
        )
    runs = plan(suites, sources)
    if not runs:
        _say("Nothing to train: these tables are counted. See `resbench report`.")
        return ExitCode.OK
    runs = _only(runs, cells) if cells else runs
    folder = ResultsFolder(results.absolute())
    folder.open_for_writing()
    found = scan(folder.path)
    for problem in found.problems:
        _say(f"warning: {problem}")
    todo = [run for run in runs if run.key not in found.records]
    done = len(runs) - len(todo)
    if not todo:
        _say(
            f"Nothing to do: {count(done, 'run')} recorded in {results}. {_next(request, results)}"
        )
        return ExitCode.OK
    missing = missing_data(sources, {run.spec.data.name for run in todo})
    runnable = [run for run in todo if run.spec.data.name not in missing]
    if not runnable:
        raise EnvironmentFault("\n".join(missing.values()))
    for name, what in missing.items():
        left_out = count(sum(run.spec.data.name == name for run in todo), "run")
        _say(f"warning: {left_out} left out: {what}")
    todo = runnable
    if end is not None:
        from resbench.analysis.results import read_results

        _weigh(todo, suites, read_results(folder.path, found))
    devices = devices[: len(todo)]
    _say(f"{count(len(todo), 'run')} to do, {done} recorded in {results}; {_where(devices)}")
    from resbench.cli.session import work

    summary = work(
        todo, folder.path, devices, Throughput.measured(found.records.values()),
        deadline=end, timeout_s=timeout_s, options=options,
    )  # fmt: skip
    code = _conclude(summary, request, results, _logs(summary, results))
    return ExitCode.ENVIRONMENT if missing and code == ExitCode.OK else code


def _only(runs: list[PlannedRun], cells: Sequence[str]) -> list[PlannedRun]:
    known = dict.fromkeys(place.cell for run in runs for place in run.places)
    for cell in cells:
        if cell not in known:
            raise UsageError(f"--cell {cell}: unknown cell.{did_you_mean(cell, known)}")
    return [run for run in runs if any(place.cell in cells for place in run.places)]


def _weigh(runs: Sequence[PlannedRun], suites: Sequence[Expanded], results: Results) -> None:
    """Tell the runs how much the claims count that each of them helps to decide."""
    from resbench.analysis.worth import claim_shares

    shares = {expanded.loaded.suite.name: claim_shares(expanded, results) for expanded in suites}
    for run in runs:
        run.claims = sum(shares[place.suite].get(place.cell, 0.0) for place in run.places)


def _conclude(summary: Summary, request: Request, results: Path, logs: str) -> int:
    """Print what came of it; return the exit code."""
    failed = summary.count(*FAILED)
    parts = {
        "done": summary.count("done"),
        "diverged": summary.count("diverged"),
        "failed": failed,
        "left": len(summary.left),
    }
    _say(", ".join(f"{n} {word}" for word, n in parts.items() if n or word == "done"))
    if failed:
        _say(f"What failed is tried again next time{logs}")
    for fault in summary.faults:
        _say(fault)
    if summary.left:
        _say_what_is_left(summary)
    if summary.faults:
        return ExitCode.ENVIRONMENT
    if summary.signal is not None:
        return 128 + summary.signal
    if parts["done"] or parts["diverged"]:
        _say(_next(request, results))
    return ExitCode.RUNS_FAILED if failed else ExitCode.OK


def _logs(summary: Summary, results: Path) -> str:
    """Say where the logs of the runs are that failed, if any of them holds something."""
    from resbench.store.layout import RunFolder

    failed = (key for key, outcome in summary.outcomes.items() if outcome in FAILED)
    logs = (RunFolder(results, key).log for key in failed)
    told = any(log.is_file() and log.stat().st_size for log in logs)
    return f"; logs: {results}/runs/*/worker.log" if told else "."


def _say_what_is_left(summary: Summary) -> None:
    """List what can go on; after a budget in which no epoch fitted, say how long one takes."""
    stopped = summary.signal is not None or summary.faults
    if not summary.epochs and not stopped:
        takes = (
            "" if summary.epoch_s is None else f", the shortest about {duration(summary.epoch_s)}"
        )
        _say(
            "The time given, less that for starting, is shorter than one epoch of any run that is "
            f"left{takes}."
        )
    labels = [run.label for run in summary.left]
    more = f"; and {len(labels) - 5} more" if len(labels) > 5 else ""
    _say(f"Left: {'; '.join(labels[:5])}{more}. The same command goes on.")


def _where(devices: Sequence[Device]) -> str:
    labels = dict.fromkeys(device.label for device in devices)
    return f"{count(len(devices), 'worker')} on {', '.join(labels)}"


def _next(request: Request, results: Path) -> str:
    return f"See {invocation('report', results, request.suites)}."


def _say(line: str) -> None:
    click.echo(line, err=True)
