"""The page of ``resbench status``."""

from __future__ import annotations

from collections.abc import Iterator

from resbench.analysis.status import STATES, FolderStatus, StoppedRun
from resbench.report.document import Block, Document, Heading, Items, Paragraph, Table
from resbench.runner.cluster import SlurmJob
from resbench.words import count, duration


def status_document(status: FolderStatus) -> Document:
    """Return what runs a results folder holds, and every folder that is not in order."""
    return Document(tuple(_blocks(status)), status)


def stopped_line(run: StoppedRun) -> str:
    """Return where a run belongs, how far it is and why it stopped."""
    more = len(run.cells) - 1
    cell = " ".join(run.cells[0]) if run.cells else "in no cell of these suites,"
    where = f"{cell}{f' +{more}' if more > 0 else ''} seed {run.seed}"
    if run.status is None:
        return f"{where}: started, no state ({run.key[:16]})"
    of = "" if run.epochs is None else f" of {run.epochs}"
    far = f"after epoch {run.epoch}{of}" if run.epoch else "before the end of epoch 1"
    # Of an orderly stop the reason says how far, which stands here already.
    why = "" if (run.reason or "after ").startswith("after ") else f", {run.reason}"
    if run.state == "running":
        why += "" if run.silent_s is None else f", last heard of {duration(run.silent_s)} ago"
        why += "" if run.job is None else f", job {run.job}"
    return f"{where}: {run.status} {far}{why} ({run.key[:16]})"


def job_line(job: SlurmJob) -> str:
    """Return what squeue says of a submitted worker."""
    why = f" ({job.reason})" if job.state == "PENDING" else f" on {job.node}, {job.left} left"
    return f"{job.id}: {job.state.lower()}{why}"


def _blocks(status: FolderStatus) -> Iterator[Block]:
    yield Heading(1, "Status")
    yield Paragraph(f"{status.results}: {count(status.records, 'finished run')}.")
    run = [table for table in status.tables if table.setting]
    if run:
        rows = tuple(
            (table.suite, table.setting or "", *(str(table.runs[s] or "") for s in STATES))
            for table in run
        )
        yield Table(("suite", "setting", *STATES), rows, "ll" + "r" * len(STATES))
    waiting = [f"{t.suite} ({t.runs['to do']})" for t in status.tables if not t.setting]
    if waiting:
        yield Paragraph(f"Not run yet, with the number of runs: {', '.join(waiting)}.")
    if status.jobs:
        yield Paragraph("Slurm jobs, each a worker that takes what is free:")
        yield Items(tuple(map(job_line, status.jobs)))
    if status.unfinished:
        yield Paragraph("Unfinished; the command that started a run resumes it:")
        yield Items(tuple(map(stopped_line, status.unfinished)))
    if status.orphans:
        yield Paragraph(
            f"{count(len(status.orphans), 'finished run')} in no cell of these suites, from an "
            "edited or another suite, another version or --set; the cells they were run for:"
        )
        yield Items(status.orphans)
    if status.problems:
        yield Paragraph(f"{count(len(status.problems), 'folder')} refused, counted nowhere:")
        yield Items(status.problems)
