"""``resbench bench``: the speed goals, measured against the loop that people use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from resbench.cli.options import format_option
from resbench.errors import ExitCode


@click.command("bench")
@click.option("--device", metavar="NAME", help="cpu or cuda:N. Default: the first GPU, else cpu.")
@click.option("--quick", is_flag=True,
              help="Narrow networks, one round: shows that it works, measures nothing.")  # fmt: skip
@click.option("--goals", metavar="LIST", help="Only these, for example 9,10,start. Default: all.")
@format_option("rich", "markdown", "json", default="rich")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Also write JSON and Markdown here, named by device and date; what other "
              "goals the files of the same day hold is kept.")  # fmt: skip
def command(
    device: str | None, quick: bool, goals: str | None, format_: str, output: Path | None
) -> int:
    """Measure speed against the loop that people use.

    Both loops take turns in one process, on the same network and batch; ratios come with their
    spread. docs/speed.md says what is measured and why. Stop what else the machine does first.
    """
    from resbench.runner.devices import gpus
    from resbench.runner.worker import environment

    as_worker = environment(threads=1)
    if any(os.environ.get(name) != value for name, value in as_worker.items()):
        again = [sys.executable, "-P", "-m", "resbench.cli.main", *sys.argv[1:]]
        os.execve(
            sys.executable, again, as_worker
        )  # an allocator is set up before a process starts
    found = gpus()
    return _bench(device or (found[0].name if found else "cpu"), quick, goals, format_, output)


def _bench(name: str, quick: bool, goals: str | None, format_: str, output: Path | None) -> int:
    from resbench.bench.contest import Bench
    from resbench.bench.goals import choose_goals
    from resbench.bench.outcome import earlier_rows, file_stem, measure
    from resbench.bench.page import bench_page
    from resbench.report.render import RENDERERS
    from resbench.store.atomic import write_atomic
    from resbench.train.determinism import find_device, prepare

    device = find_device(name)
    chosen = choose_goals(goals.split(",") if goals else (), device.type)
    prepare(device, threads=1)
    bench = Bench(device, quick)
    rows = []
    for goal, measured in zip(chosen, measure(chosen, bench), strict=True):
        click.echo(f"measured {goal.name}: {goal.metric}", err=True)
        rows += measured
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        stem = output / file_stem(bench)
        everything = bench_page(rows + earlier_rows(stem.with_suffix(".json"), chosen), bench)
        for suffix, form in ((".json", "json"), (".md", "markdown")):
            write_atomic(stem.with_suffix(suffix), RENDERERS[form](everything).encode())
        click.echo(f"written: {stem}.json and {stem.name}.md", err=True)
    click.echo(RENDERERS[format_](bench_page(rows, bench)), nl=False)
    return ExitCode.RUNS_FAILED if any(row.error for row in rows) else ExitCode.OK
