"""``resbench run``: train what suites need and have not run yet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resbench.cli.options import parse_budget, planning_options
from resbench.errors import ExitCode, UsageError
from resbench.process import need_temporary_files
from resbench.words import count, invocation

if TYPE_CHECKING:
    from resbench.runner.devices import Device
    from resbench.suite.expand import Context


@click.command("run")
@click.argument("suites", nargs=-1, required=True, type=click.Path(), metavar="SUITE...")
@planning_options
@click.option("--pack", type=click.IntRange(1, 15), default=1, metavar="N",
              help="Seeds of one network at once, on a GPU.")  # fmt: skip
@click.option("--accept-environment", is_flag=True,
              help="Resume runs started in another environment; mark them.")  # fmt: skip
@click.option("--keep-weights", is_flag=True,
              help="Store final weights too, for `resbench masks`.")  # fmt: skip
@click.option("--no-mirror", is_flag=True, help="Do not export to MLflow.")
@click.option("--executor", type=click.Choice(["slurm", "local", "print"]), metavar="NAME",
              help="slurm submits workers; local and print try it out.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), metavar="N",
              help="How many workers to submit.")  # fmt: skip
@click.option("--slurm", "sbatch", multiple=True, metavar="KEY=VALUE",
              help="An option of sbatch. Repeatable.")  # fmt: skip
@click.option("--submitted", hidden=True)
def command(
    suites: tuple[str, ...],
    results: Path,
    devices: str,
    budget: str | None,
    pack: int,
    accept_environment: bool,
    keep_weights: bool,
    no_mirror: bool,
    executor: str | None,
    workers: int | None,
    sbatch: tuple[str, ...],
    submitted: str | None,
    **options: Any,
) -> int:
    """Train what the suites need and have not run yet; interrupted runs resume."""
    from resbench.cli import work
    from resbench.cli.planning import plan_request
    from resbench.runner.cluster import note_signals
    from resbench.runner.session import SessionSettings
    from resbench.store.layout import open_for_writing
    from resbench.store.scan import scan

    deadline = None if budget is None else time.monotonic() + parse_budget(budget)
    if not executor and (workers or sbatch):
        raise UsageError("--workers and --slurm: need --executor slurm.")
    if executor and budget:
        raise UsageError(
            "--budget: a submitted worker stops at its job's time limit. Set that limit with "
            "--slurm time=1:30:00."
        )
    signals = note_signals() if submitted else []
    expanded, runs, chosen = plan_request(suites, devices=None if executor else devices, **options)
    if pack > 1:
        _check_pack(pack, expanded[0].context, chosen)
    if not runs:
        work.say("Nothing to train: these tables are counted, not trained. See `resbench report`.")
        return ExitCode.OK
    folder = results.absolute()
    if submitted:
        work.check_submitted(submitted, runs, folder)
        deadline = work.job_deadline()
    open_for_writing(folder)
    need_temporary_files(folder)
    found = scan(folder)
    todo = work.not_recorded(runs, found, folder, keep_weights=keep_weights)
    recorded = len(runs) - len(todo)
    if not todo:
        see = invocation("report", results, suites)
        work.say(f"Nothing to do: {count(recorded, 'run')} recorded in {results}. See {see}.")
        return ExitCode.OK
    ready = work.with_data(todo)
    if executor:
        files = [suite.loaded.document.path for suite in expanded]
        workers = min(workers or 1, len(ready))
        script = work.worker_script(files, runs, workers, sbatch, folder)
        return work.submit(script, executor, workers, folder)
    used = work.workers_on(chosen[: len(ready)], devices)
    work.say(f"{count(len(ready), 'run')} to do, {recorded} recorded in {results}; {used}")
    settings = SessionSettings(
        folder,
        chosen,
        deadline=deadline,
        pack=pack,
        accept_environment=accept_environment,
        keep_weights=keep_weights,
        wait=not submitted,
    )
    summary = work.train(ready, settings, found, mirror=not no_mirror, signals=signals)
    if submitted:
        summary.left = work.not_taken(summary.left, folder)
    code = work.conclude(summary, suites, results)
    if submitted:
        code = work.requeue_for_rest(summary, code)
    return ExitCode.ENVIRONMENT if len(ready) < len(todo) and code == ExitCode.OK else code


def _check_pack(pack: int, context: Context, chosen: Sequence[Device]) -> None:
    if chosen and not chosen[0].is_gpu:
        raise UsageError(f"--pack {pack}: needs a GPU. Leave --pack out.")
    if context.engine == "eager" or context.precision != "bf16":
        raise UsageError(f"--pack {pack}: needs --engine graph --precision bf16.")
