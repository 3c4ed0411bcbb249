"""``resbench verify``: recompute every record's numbers from its predictions."""

from __future__ import annotations

import json
from pathlib import Path

import click
from msgspec.structs import asdict

from resbench.cli.options import format_option, results_to_read_option
from resbench.errors import ExitCode
from resbench.words import count


@click.command("verify")
@results_to_read_option(needed=True)
@format_option("text", "json")
def command(results: Path, format_: str | None) -> int:
    """Check that every record fits its key, its files and its predictions.

    Covered are spec.json, metrics.jsonl, predictions.npz and record.json: their digests, the run
    key, and every error and loss, computed again. timing.jsonl, which feeds nothing but the times
    that are shown, is not. A record that was edited, copied or forged is named. Exit 1 when
    anything does not fit.
    """
    from resbench.store.layout import RunFolder
    from resbench.store.scan import scan
    from resbench.store.verify import verify_run

    found = scan(results)
    problems, verified = list(found.problems), 0
    for key in sorted(found.records):
        wrong = verify_run(RunFolder(results, key))
        problems += wrong
        verified += not wrong
    if format_ == "json":
        rows = [
            {
                "key": key,
                "test_top1_err": record.result.test_top1_err,
                "status": record.status,
                "code": asdict(record.code),
                "data": {"id": record.data.id, "fingerprint": record.data.fingerprint},
                "predictions": record.files.get("predictions.npz"),
            }
            for key, record in sorted(found.records.items())
        ]
        click.echo(json.dumps({"records": rows, "problems": problems}, indent=1))
    elif not problems and not verified:
        click.echo(f"{results}: no finished run, nothing to verify.")
    else:
        for problem in problems:
            click.echo(problem)
        click.echo(f"{count(verified, 'record')} verified, {count(len(problems), 'problem')}")
    return ExitCode.RUNS_FAILED if problems else ExitCode.OK
