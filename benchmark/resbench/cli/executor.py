"""Where `run` trains: here, or in workers that it submits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from resbench.errors import EnvironmentFault, ExitCode, UsageError
from resbench.words import count, invocation

if TYPE_CHECKING:
    from resbench.runner.plan import PlannedRun
    from resbench.runner.session import PlanEnd

_F = TypeVar("_F", bound=Callable[..., Any])

FILE = "executors.yaml"


def executor_options(function: _F) -> _F:
    """Add the options of :class:`Executor`."""
    options = [
        click.option("--executor", type=click.Choice(["slurm", "local"]), metavar="NAME",
                     help="slurm submits workers (--print-script shows how)."),
        click.option("--workers", type=click.IntRange(min=1), metavar="N",
                     help="How many workers to submit."),
        click.option("--slurm", "sbatch", multiple=True, metavar="KEY=VALUE",
                     help="An option of sbatch. Repeatable."),
        click.option("--print-script", is_flag=True, hidden=True),
        click.option("--submitted", hidden=True),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@dataclass(frozen=True)
class Executor:
    """Who trains, as the command line says; ``submitted`` only in a worker."""

    executor: str | None
    workers: int | None
    sbatch: tuple[str, ...]
    print_script: bool
    submitted: str | None

    @staticmethod
    def of(options: dict[str, Any]) -> Executor:
        """Take the executor's options out of a command's."""
        given = Executor(**{field.name: options.pop(field.name) for field in fields(Executor)})
        if not given.elsewhere and (given.workers or given.sbatch):
            raise UsageError("--workers and --slurm: need --executor slurm.")
        return given

    @property
    def elsewhere(self) -> bool:
        """Whether this process trains nothing itself."""
        return bool(self.executor or self.print_script)

    def submit(
        self, suites: Iterable[Path], runs: Sequence[PlannedRun], todo: int, results: Path
    ) -> int:
        """Submit workers for the ``todo`` of ``runs`` that have no record; return the exit code."""
        from resbench.runner.cluster import fingerprint, jobs_folder, run_here, script, submit

        workers = min(self.workers or 1, todo)
        command = [*_this_command(), f"--results={results}", f"--submitted={fingerprint(runs)}"]
        text = script(command, results, workers, _sbatch_options(suites, self.sbatch))
        jobs_folder(results).mkdir(exist_ok=True)
        if self.print_script:
            click.echo(text, nl=False)
            return ExitCode.OK
        logs = f"{jobs_folder(results)}/"
        if self.executor == "local":
            click.echo(f"{count(workers, 'worker')} here; logs: {logs}", err=True)
            return run_here(text, workers, results)
        arrays = ", ".join(submit(text, workers))
        status, cancel = (invocation(verb, results) for verb in ("status", "cancel"))
        click.echo(
            f"{count(workers, 'worker')} submitted to Slurm as {arrays}; logs: {logs}. {status} "
            f"shows them, {cancel} ends them.",
            err=True,
        )
        return ExitCode.OK


class SubmittedWorker:
    """This process, as one of the workers that were submitted."""

    def __init__(self, submitted: str) -> None:
        from resbench.runner.cluster import MARGIN_S, job_left_s, note_signals

        self.submitted, self.signals = submitted, note_signals()
        """Fingerprint of what was submitted; stop signals that came outside of training."""
        self.deadline: float | None = None
        if (left_s := job_left_s()) is not None:
            self.deadline = time.monotonic() + left_s - min(MARGIN_S, left_s / 4)

    def check(self, runs: Sequence[PlannedRun], results: Path) -> None:
        """Refuse to train anything but what was submitted, where it was to be trained."""
        from resbench.runner.cluster import fingerprint
        from resbench.store.layout import ResultsFolder

        if not ResultsFolder(results).is_marked():
            raise EnvironmentFault(
                f"{results}: not on this machine. Choose a results folder that all nodes share."
            )
        if fingerprint(runs) != self.submitted:
            raise EnvironmentFault(
                "Code, suite or data are not those that were submitted, so nothing is trained. "
                "Submit again."
            )


def not_taken(runs: Iterable[PlannedRun], results: Path) -> list[PlannedRun]:
    """Return the runs that are neither finished nor being trained."""
    from resbench.store.layout import RunFolder
    from resbench.store.locks import is_locked

    folders = ((run, RunFolder(results, run.key)) for run in runs)
    return [run for run, at in folders if not (at.record.exists() or is_locked(at.path))]


def requeue_for_rest(summary: PlanEnd, code: int) -> int:
    """Have a worker's job requeued for what is left; return the exit code."""
    from resbench.runner.cluster import MARGIN_S, job_left_s, requeue

    if not summary.left or summary.faults:
        return code
    left_s = job_left_s()
    at_limit = summary.signal is None or (left_s is not None and left_s <= 2 * MARGIN_S)
    if at_limit and not summary.epochs:  # an epoch is longer than the limit: it always will be
        return code
    if not requeue():
        return code
    click.echo(f"{count(len(summary.left), 'run')} left for the job that Slurm requeues.", err=True)
    return ExitCode.OK


def _this_command() -> list[str]:
    """Return the words that call `run` again as it was called, less the executor and the folder."""
    context = click.get_current_context()
    words = ["run", *context.params["suites"], "--no-mirror"]  # SQLite on network disks is unsafe
    for parameter in context.command.params:
        name = str(parameter.name)
        default = context.get_parameter_source(name) is ParameterSource.DEFAULT
        own = (field.name for field in fields(Executor))
        if default or name in (*own, "suites", "results", "no_mirror"):
            continue
        value, flag = context.params[name], parameter.opts[-1]
        if getattr(parameter, "is_flag", False):
            words.append(flag)
        else:
            items = value if getattr(parameter, "multiple", False) else [value]
            words += [f"{flag}={item}" for item in items]
    return words


def _sbatch_options(suites: Iterable[Path], given: Iterable[str]) -> dict[str, str | None]:
    """Return options of sbatch: the user's own, those next to the suites, the command line's."""
    from resbench.data.cache import user_folder

    options: dict[str, str | None] = {}
    folders = [user_folder("RESBENCH_CONFIG_DIR", "config"), *(suite.parent for suite in suites)]
    for folder in dict.fromkeys(folders):
        if (folder / FILE).is_file():
            options |= _from_file(folder / FILE)
    for pair in given:
        name, equals, value = pair.partition("=")
        options[name] = value if equals else None
    return options


def _from_file(path: Path) -> dict[str, str | None]:
    from resbench.suite.messages import validate
    from resbench.suite.spec import Frozen
    from resbench.suite.yaml import load_document

    class Executors(Frozen):
        slurm: dict[str, str | int | float | None]

    options = validate(Executors, load_document(path)).slurm
    return {name: None if value is None else str(value) for name, value in options.items()}
