"""``resbench report``: the published numbers against the measured ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resbench.cli.options import NamedPath, format_option, results_to_read_option, write_output
from resbench.errors import ExitCode, UsageError
from resbench.report.render import FORMATS, render
from resbench.words import count

if TYPE_CHECKING:
    from resbench.analysis.judge import Report
    from resbench.report.document import Document


@click.command("report")
@click.argument("suites", nargs=-1, type=click.Path(), metavar="[SUITE]...")
@results_to_read_option()
@format_option(rows=True)
@click.option("--rows", type=click.Choice(["cells", "runs", "claims"]), metavar="NAME",
              help="Rows of csv: cells, runs or claims; by default cells.")  # fmt: skip
@click.option("--output", type=NamedPath(path_type=Path), metavar="FILE",
              help="Write to this file, in the format of its suffix.")  # fmt: skip
@click.option("--site", type=NamedPath(path_type=Path), metavar="DIR",
              help="Write pages and figures to this folder instead.")  # fmt: skip
@click.option(
    "--strict", is_flag=True, help="Exit 4 unless every claim is confirmed or holds here."
)
def command(
    suites: tuple[str, ...],
    results: Path,
    format_: str | None,
    rows: str | None,
    output: Path | None,
    site: Path | None,
    strict: bool,
) -> int:
    """Compare the published numbers with the measured ones, with uncertainty.

    Without SUITE: every shipped suite, as text in brief. A report only reads files, so it is valid
    at any time, however many runs are done.

    --site replaces or removes only files that an earlier --site wrote. A README.md next to DIR gets
    the claims between its marks results:begin and results:end.
    """
    if site is not None:
        from resbench.report.site import write_site

        if format_ or rows or output or strict:
            raise UsageError(
                "--site: takes only suites and --results. Leave the other options out."
            )
        changed = write_site(suites, results, site)
        click.echo(f"{count(len(changed), 'file')} changed for {site}", err=True)
        return ExitCode.OK
    from resbench.analysis import rows as tables
    from resbench.analysis.judge import report
    from resbench.analysis.results import read_results

    format_ = _format(format_, output)
    if rows and format_ != "csv":
        raise UsageError(f"--rows {rows}: only csv has rows. Add --format csv.")
    whole = read_results(results)
    found = report(suites, whole)
    document = _document(found, suites, results, format_, output)
    if rows == "runs":
        runs = tables.run_rows(found, whole.scan.records, strays=not suites)
        document = replace(document, rows=runs, columns=tables.RUN_COLUMNS)
    elif rows == "claims":
        claims = tables.claim_rows(found)
        document = replace(document, rows=claims, columns=tables.CLAIM_COLUMNS)
    text = render(document, format_)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_output(output, text.encode())
    return _strict(found) if strict else ExitCode.OK


def _format(given: str | None, output: Path | None) -> str:
    """Return the format; the suffix of a file must not contradict it."""
    if output is None:
        return given or "text"
    suffixes = {row.suffix: name for name, row in FORMATS.items()}
    known = suffixes.get(output.suffix)
    if known is None and output.suffix and not given:
        allowed = ", ".join(suffixes)
        raise UsageError(
            f"--output {output}: unknown format {output.suffix}. Use {allowed}, or name one with "
            "--format."
        )
    if given and known and given != known and output.suffix != ".txt":
        raise UsageError(
            f"--output {output}: the suffix means {known}, but --format is {given}. Leave --format "
            "out, or rename the file."
        )
    return given or known or "text"


def _document(
    found: Report, suites: Sequence[str], results: Path, format_: str, output: Path | None
) -> Document:
    from resbench.report.report_page import report_document, summary_document

    if format_ == "text" and not suites:
        return summary_document(found)
    if not FORMATS[format_].figures:
        return report_document(found, suites=suites)
    from resbench.report.site import draw, link_to_runs

    runs = link_to_runs(results, Path(os.path.realpath(output)).parent if output else Path.cwd())
    return report_document(found, draw(found, claims=False), runs=runs, suites=suites)


def _strict(report: Report) -> int:
    """Name the claims that are not shown to hold; return the exit code.

    Where a suite was run at its source's own setting, only that table counts.
    Elsewhere it is enough that a claim holds there.
    """
    from resbench.report.text import claim_sentence

    own = {table.suite for table in report.tables if table.setting.published}
    code = ExitCode.OK
    for table in report.tables:
        if table.suite in own and not table.setting.published:
            continue
        for claim in table.claims:
            if claim.verdict not in ("confirmed", "holds_here"):
                where = f"{table.suite}, {table.setting.label}: {claim.claim.id}"
                click.echo(f"{where}: {claim_sentence(claim)}", err=True)
                code = ExitCode.NOT_REPRODUCED
    return code
