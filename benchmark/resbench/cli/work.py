"""What `run` does with its plan: submits workers, or trains here and says how it ended."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import click

from resbench.cli.options import this_command
from resbench.cli.planning import missing_data, warnings_of
from resbench.data.cache import user_folder
from resbench.errors import EnvironmentFault, ExitCode, ResbenchError
from resbench.runner import cluster
from resbench.runner.devices import Device, unused_gpu
from resbench.runner.plan import PlannedRun
from resbench.runner.progress import Progress
from resbench.runner.session import PlanEnd, Session, SessionSettings
from resbench.runner.throughput import Throughput
from resbench.store.layout import RunFolder, is_marked
from resbench.store.locks import is_locked
from resbench.store.scan import Scan
from resbench.store.state import Status
from resbench.suite.load import EXECUTORS
from resbench.suite.messages import validate
from resbench.suite.schema import Executors
from resbench.suite.yaml import load_document
from resbench.words import count, duration, invocation

OWN = ("executor", "workers", "sbatch", "submitted")
"""The options of `run` that say who trains; ``--submitted`` makes a worker."""
RESULT_LINES = 8
"""What a plan's end shows of its tables; the report has the rest."""


def say(line: str) -> None:
    """Tell the person at the terminal."""
    click.echo(line, err=True)


def not_recorded(
    runs: Sequence[PlannedRun], found: Scan, results: Path, *, keep_weights: bool
) -> list[PlannedRun]:
    """Return the runs to do; warn of what is wrong with the folder, and tidy the recorded ones."""
    for text in warnings_of(runs, found):
        say(f"warning: {text}")
    recorded = [run.key for run in runs if run.key in found.records]
    for key in recorded:
        RunFolder(results, key).drop_checkpoints()  # a killed worker may not have come to it
    done = [record for key in recorded if (record := found.records[key]).status == "done"]
    bare = sum("weights.safetensors" not in record.files for record in done)  # diverged: has none
    if keep_weights and bare:
        say(
            f"warning: {count(bare, 'run')} recorded without --keep-weights; to have the weights, "
            "train into another folder with --results DIR."
        )
    return [run for run in runs if run.key not in found.records]


def with_data(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return the runs whose data sets are available, which must be some; warn of the others."""
    missing = missing_data(runs)
    ready = [run for run in runs if run.spec.data.name not in missing]
    if not ready:
        raise EnvironmentFault("\n".join(missing.values()))
    for name, what in missing.items():
        left_out = count(sum(run.spec.data.name == name for run in runs), "run")
        say(f"warning: {left_out} left out: {what}")
    return ready


# -- elsewhere -------------------------------------------------------------------------------------


def submit(script: str, executor: str, workers: int, results: Path) -> int:
    """Start workers by ``script``, or print it; return the exit code."""
    logs = cluster.jobs_folder(results)
    logs.mkdir(exist_ok=True)
    started = count(workers, "worker")
    if executor == "print":
        click.echo(script, nl=False)
    elif executor == "local":
        say(f"{started} here; logs: {logs}/")
        return cluster.run_here(script, workers, results)
    else:
        arrays = ", ".join(cluster.submit(script, workers))
        status, cancel = (invocation(verb, results) for verb in ("status", "cancel"))
        say(
            f"{started} submitted to Slurm as {arrays}; logs: {logs}/. {status} shows them, "
            f"{cancel} ends them."
        )
    return ExitCode.OK


def worker_script(
    suites: Iterable[Path],
    runs: Sequence[PlannedRun],
    workers: int,
    sbatch: Sequence[str],
    results: Path,
) -> str:
    """Return the script of workers that run this very command.

    The options of sbatch are the user's own, then those next to the suites, then ``sbatch``.
    """
    given: dict[str, str | int | float | None] = {}
    folders = [user_folder("RESBENCH_CONFIG_DIR", "config"), *(file.parent for file in suites)]
    for folder in dict.fromkeys(folders):
        if (folder / EXECUTORS).is_file():
            given |= validate(Executors, load_document(folder / EXECUTORS)).slurm
    for pair in sbatch:
        name, equals, value = pair.partition("=")
        given[name] = value if equals else None
    options = {name: None if value is None else str(value) for name, value in given.items()}
    command = this_command("run", *OWN, "results", "no_mirror")
    command += ["--no-mirror"]  # SQLite on network disks is unsafe
    command += [f"--results={results}", f"--submitted={cluster.fingerprint(runs)}"]
    return cluster.script(command, results, workers, options)


# -- in a worker -----------------------------------------------------------------------------------


def job_deadline() -> float | None:
    """Return the monotonic time at which a worker must stop for its job's limit, if it has one."""
    left_s = cluster.job_left_s()
    return None if left_s is None else time.monotonic() + left_s - min(cluster.MARGIN_S, left_s / 4)


def check_submitted(submitted: str, runs: Sequence[PlannedRun], results: Path) -> None:
    """Refuse to train anything but what was submitted, where it was to be trained."""
    if not is_marked(results):
        raise EnvironmentFault(
            f"{results}: not on this machine. Choose a results folder that all nodes share."
        )
    if cluster.fingerprint(runs) != submitted:
        raise EnvironmentFault(
            "The code, the suite or the data has changed since the job was submitted, so nothing "
            "is trained. Submit again."
        )


def not_taken(runs: Iterable[PlannedRun], results: Path) -> list[PlannedRun]:
    """Return the runs that are neither finished nor being trained."""
    folders = ((run, RunFolder(results, run.key)) for run in runs)
    return [run for run, at in folders if not (os.path.exists(at.record) or is_locked(at.path))]


def requeue_for_rest(summary: PlanEnd, code: int) -> int:
    """Have a worker's job requeued for what is left; return the exit code."""
    if not summary.left or summary.faults:
        return code
    left_s = cluster.job_left_s()
    at_limit = summary.signal is None or (left_s is not None and left_s <= 2 * cluster.MARGIN_S)
    if at_limit and not summary.epochs:  # an epoch is longer than the limit: it always will be
        return code
    if not cluster.requeue():
        return code
    say(f"{count(len(summary.left), 'run')} left for the job that Slurm requeues.")
    return ExitCode.OK


# -- here ------------------------------------------------------------------------------------------


def workers_on(used: Sequence[Device], request: str) -> str:
    """Return a phrase on the devices; warn of a GPU that the ``request`` did not find."""
    if request == "auto" and not used[0].is_gpu and (unused := unused_gpu()):
        say(f"warning: {unused}")
    labels = dict.fromkeys(device.label for device in used)
    return f"{count(len(used), 'worker')} on {', '.join(labels)}"


def train(
    runs: Sequence[PlannedRun],
    settings: SessionSettings,
    found: Scan,
    *,
    mirror: bool,
    signals: Sequence[int],
) -> PlanEnd:
    """Work through ``runs`` with the display, and with the export to MLflow if ``mirror``.

    ``signals`` are those received so far; the caller adds to it until the session takes over.
    """
    from resbench.tracking.follow import Follower

    throughput = Throughput.of(found.records.values())
    follower = Follower(settings.results) if mirror and not signals else None
    patience_s = 0.0  # a second signal ends everything at once; `resbench sync` catches up
    try:
        used = settings.devices[: len(runs)]
        with Progress(runs, used, throughput, found.epochs) as progress:
            summary = Session(runs, settings, throughput, progress).run(signals)
            # A new store takes seconds to make, and the first runs may be shorter than that.
            hurried = settings.deadline is not None or summary.signal is not None
            patience_s = 5.0 if hurried else 30.0
            return summary
    finally:
        if follower is not None and (warning := follower.close(patience_s)):
            say(f"warning: {warning}")


def conclude(summary: PlanEnd, suites: Sequence[str], results: Path) -> int:
    """Print how the runs ended; return the exit code."""
    ended, failed = list(summary.ended.values()), summary.failed
    done, diverged = ended.count(Status.DONE), ended.count(Status.DIVERGED)
    counts = {"diverged": diverged, "failed": len(failed), "left": len(summary.left)}
    say(", ".join([f"{done} done", *(f"{n} {word}" for word, n in counts.items() if n)]))
    if failed:
        logs = [RunFolder(results, key).log for key in failed]
        some = [str(log) for log in logs if os.path.isfile(log) and os.path.getsize(log)]
        more = f" and {len(some) - 3} more" if len(some) > 3 else ""
        where = f"; logs: {', '.join(some[:3])}{more}" if some else "."
        say(f"Failed runs are tried again next time{where}")
    for fault in summary.faults:
        say(fault)
    if summary.left:
        _say_what_is_left(summary)
    if summary.faults:
        return ExitCode.ENVIRONMENT
    if summary.signal is not None:
        return 128 + summary.signal
    if done or diverged:
        with suppress(ResbenchError):  # a suite edited meanwhile: `report` says what is wrong
            _say_results(summary, suites, results)
        say(f"See {invocation('report', results, suites)}.")
    return ExitCode.RUNS_FAILED if failed else ExitCode.OK


def _say_results(summary: PlanEnd, suites: Sequence[str], results: Path) -> None:
    """List the errors of the cells that these runs belong to, next to the published ones."""
    from tabulate import tabulate

    from resbench.analysis.judge import report
    from resbench.analysis.results import read_results
    from resbench.report.text import measured

    lines = []
    for table in report(suites, read_results(results)).tables:
        own = {cell.cell for cell in table.cells if any(r.key in summary.ended for r in cell.runs)}
        for value in table.values:
            if value.is_error and value.cell in own:
                published = f"published {value.number}" if value.number else ""
                if published and value.verdict == "not_comparable":
                    published += ", not comparable"
                lines.append((table.label_of(value), measured(value), published))
    shown = lines[:RESULT_LINES]
    if shown:
        say("Measured, with the number of runs:")
    for line in tabulate(shown, tablefmt="plain", disable_numparse=True).splitlines():
        say(f"  {line}".rstrip())
    if len(lines) > len(shown):
        say(f"  and {len(lines) - len(shown)} more")


def _say_what_is_left(summary: PlanEnd) -> None:
    """List the runs that can resume; if no epoch fitted the budget, say how long one takes."""
    free = [run for run in summary.left if run.key not in summary.elsewhere]
    if free and not (summary.epochs or summary.faults or summary.signal):
        epoch_s = summary.epoch_s or 0.0  # starting takes seconds: less explains nothing
        takes = f"; the shortest epoch takes about {duration(epoch_s)}" if epoch_s >= 1 else ""
        say(f"The budget is too short to start any of these runs and train one epoch{takes}.")
    labels = [run.label for run in summary.left]
    more = f"; and {len(labels) - 5} more" if len(labels) > 5 else ""
    say(f"Left: {'; '.join(labels[:5])}{more}. Run the same command to resume.")
    if busy := len(summary.left) - len(free):
        say(f"Another process is training {busy} of these.")
