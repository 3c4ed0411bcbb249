"""``resbench bench``: the speed goals, measured against the loop that people use."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resbench.cli.options import NamedPath, format_option
from resbench.errors import ExitCode

if TYPE_CHECKING:
    from resbench.bench.outcome import Row


@click.command("bench")
@click.option("--device", metavar="NAME", help="cpu or cuda:N. Default: the first GPU, else cpu.")
@click.option(
    "--quick", is_flag=True, help="Narrow networks, one round: shows that it works, no more."
)
@click.option("--goals", metavar="LIST", help="Only these, for example 9,10,start. Default: all.")
@format_option("rich", "markdown", "json", default="rich")
@click.option(
    "--output",
    type=NamedPath(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also write JSON and Markdown, named by device and date. Goals that the files of the day "
    "hold already and that are not measured now are kept.",
)
def command(
    device: str | None, quick: bool, goals: str | None, format_: str, output: Path | None
) -> int:
    """Measure speed against the loop that people use.

    Both loops take turns in one process, on the same network and batch; ratios come with their
    spread. docs/speed.md says what is measured and why. Stop what else the machine does first.
    """
    from resbench.runner.devices import gpus

    _start_again_as_a_worker()
    found = gpus()
    return _bench(device or (found[0].name if found else "cpu"), quick, goals, format_, output)


def _start_again_as_a_worker() -> None:
    """Replace this process by one with a worker's environment, which counts from the start."""
    from resbench.data.catalog import cache_dir
    from resbench.runner.worker import worker_variables

    variables = worker_variables(threads=1)
    if variables.pop("PYTHONDONTWRITEBYTECODE", None):
        # Compiling every package at every start is no start-up that an installation has.
        variables["PYTHONPYCACHEPREFIX"] = str(cache_dir() / "bytecode")
    if variables != dict(os.environ):
        again = [sys.executable, "-P", "-m", "resbench.cli.main", *sys.argv[1:]]
        os.execve(sys.executable, again, variables)


def _bench(name: str, quick: bool, goals: str | None, format_: str, output: Path | None) -> int:
    from resbench.bench.contest import Bench
    from resbench.bench.goals import choose_goals
    from resbench.bench.outcome import measure
    from resbench.bench.page import bench_page, write
    from resbench.report.render import RENDERERS
    from resbench.train.determinism import find_device, set_up_device

    device = find_device(name)
    chosen = choose_goals(() if goals is None else goals.split(","), device.type)
    set_up_device(device, threads=1)
    bench = Bench(device, quick)
    rows: list[Row] = []
    if output is not None:
        write(rows, bench, output)  # a folder that refuses is told before hours of measuring
    for goal in chosen:
        click.echo(f"measuring {goal.name}: {goal.metric}", err=True)
        rows += measure(goal, bench)
        if output is not None:  # after each, for the time may be up before the last
            files = write(rows, bench, output)
    if output is not None:
        click.echo(f"written: {', '.join(map(str, files))}", err=True)
    click.echo(RENDERERS[format_](bench_page(rows, bench)), nl=False)
    return ExitCode.RUNS_FAILED if any(row.error for row in rows) else ExitCode.OK
