"""``resbench run``: train what suites need and have not run yet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resbench.cli.executor import (
    Executor,
    SubmittedWorker,
    executor_options,
    not_taken,
    requeue_for_rest,
)
from resbench.cli.planning import (
    Request,
    chosen_runs,
    expand_request,
    missing_data,
    parse_budget,
    planning_options,
)
from resbench.errors import EnvironmentFault, ExitCode, UsageError
from resbench.process import need_temporary_files
from resbench.words import count, duration, invocation

if TYPE_CHECKING:
    from resbench.runner.devices import Device
    from resbench.runner.plan import PlannedRun
    from resbench.runner.session import PlanEnd, SessionSettings
    from resbench.runner.throughput import Throughput
    from resbench.store.records import RunRecord


RESULT_LINES = 8
"""What a plan's end shows of its tables; the report has the rest."""


@click.command("run")
@click.argument("suites", nargs=-1, required=True, metavar="SUITE...")
@planning_options
@click.option("--pack", type=click.IntRange(1, 15), default=1, metavar="N",
              help="Seeds of one network at once, on a GPU.")  # fmt: skip
@click.option("--accept-environment", is_flag=True,
              help="Resume runs of another environment, and mark them.")  # fmt: skip
@click.option("--keep-weights", is_flag=True,
              help="Store final weights too, for `resbench masks`.")  # fmt: skip
@click.option("--no-mirror", is_flag=True, help="Do not export to MLflow.")
@executor_options
def command(
    results: Path,
    budget: str | None,
    pack: int,
    accept_environment: bool,
    keep_weights: bool,
    no_mirror: bool,
    **options: Any,
) -> int:
    """Train what the suites need and have not run yet; interrupted runs resume."""
    from resbench.runner.devices import unused_gpu
    from resbench.runner.throughput import Throughput
    from resbench.store.layout import ResultsFolder
    from resbench.store.scan import scan

    deadline = None if budget is None else time.monotonic() + parse_budget(budget)
    executor = Executor.of(options)
    if executor.elsewhere and budget:
        raise UsageError(
            "--budget: a submitted worker stops at its job's time limit. Set that limit with "
            "--slurm time=1:30:00."
        )
    worker = SubmittedWorker(executor.submitted) if executor.submitted else None
    request = Request(**options)
    suites, sources, devices = expand_request(request, here=not executor.elsewhere)
    context = suites[0].context
    if pack > 1 and (context.engine == "eager" or context.precision != "bf16"):
        raise UsageError(
            f"--pack {pack}: needs a GPU. Leave --pack out."
            if devices and not devices[0].is_gpu
            else f"--pack {pack}: needs --engine graph --precision bf16."
        )
    runs = chosen_runs(request, suites, sources)
    if not runs:
        _say("Nothing to train: these tables are counted, not trained. See `resbench report`.")
        return ExitCode.OK
    folder = ResultsFolder(results.absolute())
    if worker:
        worker.check(runs, folder.path)
    folder.open_for_writing()
    need_temporary_files(folder.path)
    found = scan(folder.path)
    for problem in found.problems:
        _say(f"warning: {problem}")
    todo = [run for run in runs if run.key not in found.records]
    recorded = [run.key for run in runs if run.key in found.records]
    for key in recorded:
        folder.run(key).drop_checkpoints()  # a killed worker may not have come to it
    if keep_weights:
        _say_what_has_no_weights([found.records[key] for key in recorded])
    if not todo:
        done = count(len(recorded), "run")
        _say(f"Nothing to do: {done} recorded in {results}. {_next(request, results)}")
        return ExitCode.OK
    missing = missing_data(sources, {run.spec.data.name for run in todo})
    runnable = [run for run in todo if run.spec.data.name not in missing]
    if not runnable:
        raise EnvironmentFault("\n".join(missing.values()))
    for name, what in missing.items():
        left_out = count(sum(run.spec.data.name == name for run in todo), "run")
        _say(f"warning: {left_out} left out: {what}")
    if executor.elsewhere:
        files = [suite.loaded.document.path for suite in suites]
        return executor.submit(files, runs, len(runnable), folder.path)
    if request.devices == "auto" and not devices[0].is_gpu and (unused := unused_gpu()):
        _say(f"warning: {unused}")
    where = _where(devices[: len(runnable)])
    _say(f"{count(len(runnable), 'run')} to do, {len(recorded)} recorded in {results}; {where}")
    from resbench.runner.session import PlanEnd, SessionSettings

    settings = SessionSettings(
        folder.path,
        devices,
        deadline=worker.deadline if worker else deadline,
        pack=pack,
        accept_environment=accept_environment,
        keep_weights=keep_weights,
        wait=worker is None,
    )
    if worker and worker.signals:
        summary = PlanEnd(left=runnable, signal=worker.signals[0])
    else:
        throughput = Throughput.of(found.records.values())
        summary = _work(runnable, settings, throughput, mirror=not no_mirror)
    if worker:
        summary.left = not_taken(summary.left, folder.path)
    code = _conclude(summary, request, results, _logs(summary, results))
    if worker:
        code = requeue_for_rest(summary, code)
    return ExitCode.ENVIRONMENT if missing and code == ExitCode.OK else code


def _say_what_has_no_weights(records: Sequence[RunRecord]) -> None:
    """Count the recorded runs whose weights were not kept: they are not trained again for them."""
    without = sum("weights.safetensors" not in record.files for record in records)
    if without:
        _say(
            f"warning: {count(without, 'run')} recorded without --keep-weights; to have the "
            "weights, train into another folder with --results DIR."
        )


def _work(
    runs: Sequence[PlannedRun], settings: SessionSettings, throughput: Throughput, *, mirror: bool
) -> PlanEnd:
    """Work through ``runs`` with the display, and with the export to MLflow if ``mirror``."""
    from resbench.runner.progress import Progress
    from resbench.runner.session import Session
    from resbench.tracking.follow import Follower

    follower = Follower(settings.results) if mirror else None
    patience_s = 0.0  # a second signal ends everything at once; `resbench sync` catches up
    try:
        with Progress(runs, settings.devices[: len(runs)], throughput) as progress:
            summary = Session(runs, settings, throughput, progress).run()
            # A new store takes seconds to make, and the first runs may be shorter than that.
            patience_s = 30.0 if settings.deadline is None else 5.0
            return summary
    finally:
        if follower is not None and (warning := follower.close(patience_s)):
            _say(f"warning: {warning}")


def _conclude(summary: PlanEnd, request: Request, results: Path, logs: str) -> int:
    """Print how the runs ended; return the exit code."""
    from resbench.store.state import Status

    failed, ended = len(summary.failed), list(summary.ended.values())
    parts = {
        "done": ended.count(Status.DONE),
        "diverged": ended.count(Status.DIVERGED),
        "failed": failed,
        "left": len(summary.left),
    }
    _say(", ".join(f"{n} {word}" for word, n in parts.items() if n or word == "done"))
    if failed:
        _say(f"Failed runs are tried again next time{logs}")
    for fault in summary.faults:
        _say(fault)
    if summary.left:
        _say_what_is_left(summary)
    if summary.faults:
        return ExitCode.ENVIRONMENT
    if summary.signal is not None:
        return 128 + summary.signal
    if parts["done"] or parts["diverged"]:
        _say_results(summary, request.suites, results)
        _say(_next(request, results))
    return ExitCode.RUNS_FAILED if failed else ExitCode.OK


def _say_results(summary: PlanEnd, suites: Sequence[str], results: Path) -> None:
    """List the errors of the cells that these runs belong to, next to the published ones."""
    from tabulate import tabulate

    from resbench.analysis.judge import report
    from resbench.report.tables import measured

    lines = []
    for table in report(suites, results).tables:
        own = {cell.cell for cell in table.cells if any(r.key in summary.ended for r in cell.runs)}
        for value in table.values:
            if value.is_error and value.cell in own:
                published = f"published {value.number}" if value.number else ""
                lines.append((table.label_of(value), measured(value).text, published))
    shown = lines[:RESULT_LINES]
    if shown:
        _say("Measured, with the number of runs:")
    for line in tabulate(shown, tablefmt="plain", disable_numparse=True).splitlines():
        _say(f"  {line}".rstrip())
    if len(lines) > len(shown):
        _say(f"  and {len(lines) - len(shown)} more")


def _logs(summary: PlanEnd, results: Path) -> str:
    """Say where the logs of the failed runs are, if any of them is not empty."""
    from resbench.store.layout import RunFolder

    logs = (RunFolder(results, key).log for key in summary.failed)
    some = any(log.is_file() and log.stat().st_size for log in logs)
    return f"; logs: {results}/runs/*/worker.log" if some else "."


def _say_what_is_left(summary: PlanEnd) -> None:
    """List the runs that can resume; if no epoch fitted the budget, say how long one takes."""
    stopped = summary.signal is not None or summary.faults
    if not summary.epochs and not stopped:
        takes = (
            "" if summary.epoch_s is None else f", the shortest about {duration(summary.epoch_s)}"
        )
        _say(f"The budget is too short for one epoch of any of these runs{takes}.")
    labels = [run.label for run in summary.left]
    more = f"; and {len(labels) - 5} more" if len(labels) > 5 else ""
    _say(f"Left: {'; '.join(labels[:5])}{more}. Run the same command to resume.")


def _where(devices: Sequence[Device]) -> str:
    labels = dict.fromkeys(device.label for device in devices)
    return f"{count(len(devices), 'worker')} on {', '.join(labels)}"


def _next(request: Request, results: Path) -> str:
    return f"See {invocation('report', results, request.suites)}."


def _say(line: str) -> None:
    click.echo(line, err=True)
