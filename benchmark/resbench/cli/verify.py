"""``resbench verify``: recompute every record's errors from its predictions."""

from __future__ import annotations

from pathlib import Path

import click

from resbench.cli.options import results_to_read_option
from resbench.errors import ExitCode
from resbench.words import count


@click.command("verify")
@results_to_read_option(needed=True)
def command(results: Path) -> int:
    """Recompute every record's errors from its predictions.

    Checks every digest and run key, and computes every error and loss again. This finds edited or
    copied records and forged errors. Not checked: sizes of features and gradients, which only
    training the run again would reproduce, and timing.jsonl, which holds only the times that
    reports show. Exit 1 if a record does not match its files.
    """
    from resbench.store.layout import RunFolder
    from resbench.store.scan import scan
    from resbench.store.verify import verify_run

    found = scan(results)
    wrong = {key: verify_run(RunFolder(results, key)) for key in sorted(found.records)}
    problems = [*found.problems, *(problem for run in wrong.values() for problem in run)]
    verified = sum(not run for run in wrong.values())
    if not problems and not verified:
        click.echo(f"{results}: no finished run, nothing to verify.")
        return ExitCode.OK
    for problem in problems:
        click.echo(problem)
    click.echo(f"{count(verified, 'record')} verified, {count(len(problems), 'problem')}")
    return ExitCode.RUNS_FAILED if problems else ExitCode.OK
