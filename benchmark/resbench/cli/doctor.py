"""``resbench doctor``: what this machine and a results folder can do, and what to do where not."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path

import click

from resbench.cli.options import data_option, results_option
from resbench.errors import EnvironmentFault, ExitCode, ResbenchError
from resbench.process import PYTHON
from resbench.words import one_line

ROOM_GIB = 1.0
"""For two checkpoints of each run that is trained, and the records."""
_TAKE_LOCK = (
    "import sys; from pathlib import Path; from resbench.store.locks import try_lock; "
    "sys.exit(3 if try_lock(Path(sys.argv[1])) else 0)"
)
_SHORT_RUN = (
    "run", "smoke", "--cell=mixed/arl", "--seeds=1,", "--no-mirror", "--jobs=1",
    "--set=data.image_px=8", "--set=data.train_images=64", "--set=data.test_images=50",
    "--set=model.width=0.125", "--set=training.schedule.total=1",
    "--set=training.schedule.drops=[]",
)  # fmt: skip


@click.command("doctor")
@results_option
@data_option
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N.")
def command(results: Path, data: tuple[str, ...], device: str) -> int:
    """Check this machine and a results folder: a line per check, with what to do if it fails.

    Trains for some seconds in a folder of its own, which it removes. Exit 3 if a check fails.
    """
    code, made = ExitCode.OK, list[Path]()
    with ExitStack() as held:
        checks: dict[str, Callable[[], str]] = {
            "disk": lambda: _disk(held, results, made),
            "locks": lambda: _locks(made[0]),
            "device": lambda: _device(device),
            "training": lambda: _training(made[0], device),
            "data": lambda: _data(data),
            "MLflow": lambda: _mlflow(results),
            "Slurm": _slurm,
        }
        for check, run in checks.items():
            if (check == "training" and code) or (check in ("locks", "MLflow") and not made):
                continue  # it would fail for the same reason
            try:
                mark, text = "ok", run()
            except ResbenchError as error:
                mark, text, code = "FAULT", str(error), ExitCode.ENVIRONMENT
            click.echo(f"{mark:5}  {check:8}  {one_line(text)}")
    return code


def _disk(held: ExitStack, results: Path, made: list[Path]) -> str:
    """Make a folder for the checks where the results are or will be, and add it to ``made``."""
    from resbench.store.atomic import faults_at
    from resbench.store.layout import open_for_writing, what_is

    place = next(p for p in (results.absolute(), *results.absolute().parents) if os.path.lexists(p))
    if not place.is_dir():
        raise EnvironmentFault(
            f"{place}: {what_is(place)}, not a folder. Choose another results folder with "
            "--results."
        )
    with faults_at(place):
        temporary = tempfile.TemporaryDirectory(prefix=".doctor-", dir=place)  # not .tmp-: no sweep
    folder = Path(held.enter_context(temporary))
    open_for_writing(folder)
    made.append(folder)
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
    assert lock is not None, "no other process knows this folder"
    with lock:
        other = subprocess.run([*PYTHON, "-c", _TAKE_LOCK, str(folder)], capture_output=True)
    if other.returncode != 0:
        raise EnvironmentFault(
            f"{folder.parent}: two processes get the same lock, so one run could be trained twice. "
            "Use a local disk, or mount this one with locks (NFS: version 4, or lockd)."
        )
    return "a second process of this machine is kept out of a locked folder"


def _device(name: str) -> str:
    from resbench.runner.devices import choose, unused_gpu

    devices = choose(name, None)
    if name == "auto" and not devices[0].is_gpu and (unused := unused_gpu()):
        raise EnvironmentFault(f"{unused} Or name --device cpu.")
    return ", ".join(dict.fromkeys(f"{device.name} ({device.kind})" for device in devices))


def _training(folder: Path, device: str) -> str:
    """Train twice, which also needs a torch built for the device; on a GPU by graphs too."""
    from resbench.runner.devices import choose

    if _short_run(folder / "1", device) != _short_run(folder / "2", device):
        raise EnvironmentFault(
            "the same run gave different bits the second time, so an interrupted run would not "
            "give the same result. Use another device, and report this as a defect."
        )
    graphs = ""
    if choose(device, None)[0].is_gpu:
        _short_run(folder / "3", device, "--engine=graph")
        graphs = "; CUDA graphs are captured and replayed"
    return f"a short run gave the same bits twice{graphs}"


def _short_run(results: Path, device: str, *options: str) -> list[bytes]:
    """Return what a repetition must give again."""
    command = (*_SHORT_RUN, *options, f"--devices={device}", f"--results={results}")
    done = subprocess.run([*PYTHON, "-m", "resbench", *command], capture_output=True, text=True)
    if done.returncode != 0:
        raise EnvironmentFault(" ".join([*options, *done.stderr.splitlines()]))
    (record,) = results.glob("runs/*/record.json")
    return [(record.parent / name).read_bytes() for name in ("metrics.jsonl", "predictions.npz")]


def _data(locations: tuple[str, ...]) -> str:
    from resbench.data.sources import identify, parse_locations
    from resbench.datasets import DATA_SETS

    named = parse_locations(locations)
    missing = [name for name in DATA_SETS if not identify(name, named).available]
    found = ", ".join(name for name in DATA_SETS if name not in missing)
    if not missing:
        return found
    return f"{found}; not here: {', '.join(missing)} (`resbench data fetch {' '.join(missing)}`)"


def _mlflow(results: Path) -> str:
    from resbench.tracking.mirror import find_mirror

    mirror = find_mirror(results)
    if mirror.database is None:
        try:
            urllib.request.urlopen(f"{mirror.shown}/health", timeout=10).close()
        except (OSError, HTTPException) as error:
            if getattr(error, "code", None) in (401, 403):
                return f"{mirror.shown} answers; it wants the credentials that MLflow sends"
            raise EnvironmentFault(
                f"{mirror.shown}: no answer ({error}). Runs are trained all the same, and "
                f"{mirror.fill_command} exports them later."
            ) from error
        # /health needs no password even where runs do
        return f"{mirror.shown} answers; the first export shows whether it accepts runs"
    if not mirror.database.exists():
        return f"{mirror.shown} will be made by the first run"
    with mirror.turn(10):
        pass
    return f"{mirror.shown} can be written"


def _slurm() -> str:
    from resbench.runner.cluster import ping

    answer = ping() if shutil.which("sbatch") else None
    return answer or "no cluster here, so `resbench run --executor slurm` cannot be used"
