"""The page of ``resbench status``."""

from __future__ import annotations

from resbench.analysis.names import listed
from resbench.analysis.status import STATES, FolderStatus, StoppedRun
from resbench.report.document import Block, Document, Heading, Paragraph, Table, items_below
from resbench.runner.cluster import SlurmJob
from resbench.words import count, duration


def status_document(status: FolderStatus) -> Document:
    """Return what runs a results folder holds, and every folder that is not in order."""
    blocks: list[Block] = [
        Heading(1, "Status"),
        Paragraph(f"{status.results}: {count(status.records, 'finished run')}."),
    ]
    started = [table for table in status.tables if table.setting]
    settings = [table.setting or "" for table in started]
    # the first part of a setting is its tier; where the others are the same, they are below
    ends = {setting.partition(" · ")[2] for setting in settings}
    shared = ends.pop() if len(ends) == 1 and len(settings) > 1 else ""
    if shared:
        settings = [setting.removesuffix(f" · {shared}") for setting in settings]
    states = [s for s in STATES if s in ("done", "to do") or any(t.runs[s] for t in started)]
    rows = [
        (table.suite, setting, *(str(table.runs[state] or "") for state in states))
        for table, setting in zip(started, settings, strict=True)
    ]
    if rows:
        blocks.append(Table(("suite", "setting", *states), rows, "ll" + "r" * len(states)))
    if shared:
        blocks.append(Paragraph(f"All of these: {shared}."))
    waiting = [f"{t.suite} ({t.runs['to do']})" for t in status.tables if not t.setting]
    if waiting:
        blocks.append(Paragraph(f"Not run yet, with the number of runs: {listed(waiting)}."))
    jobs = map(_job_line, status.jobs)
    stopped = [stopped_line(run) for run in status.unfinished if run.cells]
    others = [stopped_line(run) for run in status.unfinished if not run.cells]
    elsewhere = (
        f"{count(len(others), 'unfinished run')} in no cell of these suites. The commands "
        "that started them resume them, unless a suite or its networks.py has changed since; then "
        f"their folders in {status.results}/runs can be removed:"
    )
    strays = (
        f"{count(len(status.orphans), 'finished run')} in no cell of these suites: they were made "
        "by another suite (name it to see them) or with --set, or a suite, its networks.py or "
        "resbench has changed since. They were trained for:"
    )
    refused = f"{count(len(status.problems), 'folder')} refused and not counted:"
    blocks += items_below("Slurm jobs; each is a worker that takes the next free run:", list(jobs))
    blocks += items_below("Unfinished runs; repeat their commands to resume them:", stopped)
    blocks += items_below(elsewhere, others)
    blocks += items_below(strays, status.orphans)
    blocks += items_below(refused, status.problems)
    return Document(blocks, status)


def stopped_line(run: StoppedRun) -> str:
    """Return where a run belongs, how far it is and why it stopped."""
    more = len(run.cells) - 1
    cell = " ".join(run.cells[0]) + " " if run.cells else ""
    where = f"{cell}{f'+{more} ' if more > 0 else ''}seed {run.seed}"
    if run.status is None:
        return f"{where}: started, no state ({run.key[:16]})"
    of = "" if run.epochs is None else f" of {run.epochs}"
    far = f"after epoch {run.epoch}{of}" if run.epoch else "before the end of epoch 1"
    why = f", {run.reason}" if run.reason else ""
    if run.state == "running":
        why += "" if run.silent_s is None else f", last heard of {duration(run.silent_s)} ago"
        why += "" if run.job is None else f", job {run.job}"
    return f"{where}: {run.status} {far}{why} ({run.key[:16]})"


def _job_line(job: SlurmJob) -> str:
    """Return what squeue says of a submitted worker."""
    why = f" ({job.reason})" if job.state == "PENDING" else f" on {job.node}, {job.left} left"
    return f"{job.id}: {job.state.lower()}{why}"
