"""``resbench status``: the runs of a results folder and their progress."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from resbench.cli.options import format_option, results_to_read_option, show
from resbench.errors import EnvironmentFault


@click.command("status")
@click.argument("suites", nargs=-1, type=click.Path(), metavar="[SUITE]...")
@results_to_read_option()
@format_option()
def command(suites: tuple[str, ...], results: Path, format_: str | None) -> None:
    """Show the runs of a results folder and their progress.

    Without SUITE: every shipped suite, and the runs that belong to none. Refused runs are always
    listed.
    """
    from resbench.analysis.results import read_results
    from resbench.analysis.status import folder_status
    from resbench.report.status_page import status_document
    from resbench.runner.cluster import SlurmJob, jobs_folder, jobs_of
    from resbench.suite.load import load_suites, suite_names

    jobs: list[SlurmJob] = []
    try:
        if jobs_folder(results).is_dir() and shutil.which("squeue"):  # else nothing was submitted
            jobs = jobs_of(results)
    except EnvironmentFault as fault:
        click.echo(f"warning: no view of Slurm's queue: {fault}", err=True)
    named = load_suites(suites or suite_names())
    found = folder_status(named, read_results(results), whole=not suites, jobs=jobs)
    show(status_document(found), format_)
