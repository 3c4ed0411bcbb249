"""``resbench doctor``: what this machine and a results folder can do, and what to do where not."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resbench.cli.options import data_option, results_option
from resbench.errors import EnvironmentFault, ExitCode, ResbenchError
from resbench.process import PYTHON
from resbench.words import one_line

if TYPE_CHECKING:
    from resbench.runner.devices import Device

ROOM_GIB = 1.0
"""Two checkpoints of each run at work, and the records of all."""
_TAKES_LOCK = (
    "import sys; from pathlib import Path; from resbench.store.locks import try_lock; "
    "sys.exit(3 if try_lock(Path(sys.argv[1])) else 0)"
)
_SHORT_RUN = (
    "run", "smoke", "--cell=mixed/arl", "--seeds=1,", "--no-mirror", "--jobs=1",
    "--set=data.image_px=8", "--set=data.train_images=64", "--set=data.test_images=50",
    "--set=model.width=0.125",
    "--set=training.schedule.total=1", "--set=training.schedule.drops=[]",
)  # fmt: skip


@click.command("doctor")
@results_option
@data_option
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N.")
def command(results: Path, data: tuple[str, ...], device: str) -> int:
    """Check this machine and a results folder: one line a check, with what to do.

    Trains for some seconds in a folder of its own, which it removes. Exit 3 if a check fails.
    """
    place = next(p for p in (results.absolute(), *results.absolute().parents) if p.is_dir())
    code = ExitCode.OK

    def holds(name: str, check: Callable[[], str]) -> bool:
        nonlocal code
        try:
            text = check()
        except ResbenchError as error:
            code = ExitCode.ENVIRONMENT
            click.echo(f"FAULT  {name:8}  {one_line(error)}")
            return False
        click.echo(f"ok     {name:8}  {one_line(text)}")
        return True

    with tempfile.TemporaryDirectory(prefix=".tmp-doctor-", dir=place) as name:
        folder = Path(name)
        written = holds("disk", lambda: _disk(folder)) and holds("locks", lambda: _locks(folder))
        if holds("device", lambda: _device(device)) and written:
            trained = holds("training", lambda: _training(folder, device))
            if trained and _choose(device)[0].is_gpu:
                holds("graph", lambda: _graph(folder, device))
    holds("data", lambda: _data(data))
    holds("MLflow", lambda: _mlflow(results))
    holds("Slurm", _slurm)
    return code


def _disk(folder: Path) -> str:
    """Write and sync a file and a folder there."""
    from resbench.store.layout import ResultsFolder

    ResultsFolder(folder).open_for_writing()
    free = shutil.disk_usage(folder).free / 2**30
    if free < ROOM_GIB:
        raise EnvironmentFault(
            f"{folder.parent}: {free:.1f} GiB are free, too little for checkpoints. Free some "
            "space, or choose another folder with --results."
        )
    return f"{folder.parent} can be written and synced; {free:,.1f} GiB are free"


def _locks(folder: Path) -> str:
    from resbench.store.locks import try_lock

    lock = try_lock(folder)
    assert lock is not None, "nobody else knows this folder"
    with lock:
        other = subprocess.run([*PYTHON, "-c", _TAKES_LOCK, str(folder)], capture_output=True)
    if other.returncode != 0:
        raise EnvironmentFault(
            f"{folder.parent}: two processes get the same lock, so one run could be trained twice. "
            "Use a local disk, or mount this one with locks (NFS: version 4, or lockd)."
        )
    return "a second process of this machine is kept out of a locked folder"


def _choose(name: str) -> list[Device]:
    from resbench.runner.devices import choose

    return choose(name, None)


def _device(name: str) -> str:
    from resbench.runner.devices import unused_gpu

    devices = _choose(name)
    if name == "auto" and not devices[0].is_gpu and (unused := unused_gpu()):
        raise EnvironmentFault(f"{unused} Or name --device cpu.")
    return ", ".join(dict.fromkeys(f"{device.name} ({device.kind})" for device in devices))


def _training(folder: Path, device: str) -> str:
    """Train a run twice, which also needs a torch that is built for the device."""
    first, second = (_short_run(folder / name, device) for name in ("first", "second"))
    if first != second:
        raise EnvironmentFault(
            "the same run gave other bits the second time: interrupted runs will not resume to "
            "the same result here. Use another device, and report this as a defect."
        )
    return "a short run gave the same bits twice"


def _graph(folder: Path, device: str) -> str:
    _short_run(folder / "graph", device, "--engine=graph")
    return "--engine graph captures and replays its CUDA graphs"


def _short_run(results: Path, device: str, *options: str) -> list[bytes]:
    """Return what a repetition must give again."""
    command = [*PYTHON, "-m", "resbench", *_SHORT_RUN, f"--devices={device}", *options]
    done = subprocess.run(
        [*command, f"--results={results}"], capture_output=True, text=True, timeout=1800
    )
    if done.returncode != 0:
        raise EnvironmentFault(" ".join(done.stderr.split("\n")[1:]).strip() or done.stderr)
    (record,) = results.glob("runs/*/record.json")
    return [(record.parent / name).read_bytes() for name in ("metrics.jsonl", "predictions.npz")]


def _data(locations: tuple[str, ...]) -> str:
    from resbench.data.sources import identify, parse_locations
    from resbench.datasets import DATA_SETS

    named = parse_locations(locations)
    sources = {name: identify(name, named) for name in DATA_SETS}
    missing = [name for name, source in sources.items() if not source.available]
    found = ", ".join(name for name in sources if name not in missing)
    if not missing:
        return found
    return f"{found}; not here: {', '.join(missing)} (`resbench data fetch {' '.join(missing)}`)"


def _mlflow(results: Path) -> str:
    from resbench.tracking.mirror import find_mirror

    mirror = find_mirror(results)
    if mirror.database is None:
        try:
            urllib.request.urlopen(f"{mirror.uri}/health", timeout=10).close()
        except OSError as error:
            raise EnvironmentFault(
                f"{mirror.shown}: no answer ({error}). Runs are trained all the same, and "
                f"{mirror.fill_command} exports them later."
            ) from error
    elif mirror.database.exists():
        with mirror.turn(10):
            pass
    else:
        return f"{mirror.shown} will be made by the first run"
    return f"{mirror.shown} can be written"


def _slurm() -> str:
    from resbench.runner.cluster import ping

    if shutil.which("sbatch") is None and "SLURM_JOB_ID" not in os.environ:
        return "not here, so `resbench run --executor slurm` cannot be used"
    return ping()
