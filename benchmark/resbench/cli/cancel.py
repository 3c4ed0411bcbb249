"""``resbench cancel``: end the workers that were submitted for a results folder."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import results_to_read_option
from resbench.words import count


@click.command("cancel")
@results_to_read_option(needed=True)
def command(results: Path) -> None:
    """Cancel your Slurm jobs for a results folder.

    What they had trained is kept; `resbench run` resumes it.
    """
    from resbench.runner.cluster import cancel

    jobs = cancel(results)
    click.echo(f"{count(len(jobs), 'job')} cancelled{': ' if jobs else '.'}"
               + ", ".join(job.id for job in jobs))  # fmt: skip
