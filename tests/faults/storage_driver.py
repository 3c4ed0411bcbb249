"""One storage action in a process that waits, stopped, until it is traced.

``python -m tests.faults.storage_driver ACTION``; each line on stdin names a folder. For each, a
child is forked and its id printed once it has stopped; then what it says, then ``end STATUS``.
Forking from one warm process makes a campaign of hundreds of kills affordable.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from resbench.errors import ResbenchError
from resbench.store.atomic import write_atomic
from resbench.store.layout import open_for_writing
from resbench.store.transfer import merge

from ..factory import EPOCHS, complete, folder_of, predictions_of, work

OLD, NEW = b"old " * 5000, b"new content " * 5000


def replace(folder: Path) -> None:
    write_atomic(folder / "file", NEW)


def replace_carelessly(folder: Path) -> None:
    """What most code does: the control."""
    (folder / "file").write_bytes(NEW)


def epoch(folder: Path) -> None:
    work(folder_of(folder), 0, EPOCHS)


def commit(folder: Path) -> None:
    complete(folder_of(folder), 0)


def take_in(folder: Path) -> None:
    report = merge(folder, [folder / "packed.tar"])
    for _, reason in report.refused:
        raise ResbenchError(reason)


def sync(folder: Path) -> None:
    from resbench.tracking.export import Exporter

    found = Exporter(folder / "results").export()
    assert not found.problems, found.problems


def mark(folder: Path) -> None:
    open_for_writing(folder / "results")


def warm_up(template: Path) -> None:
    """Have MLflow and SQLAlchemy import what they need."""
    with tempfile.TemporaryDirectory() as folder:
        sync(Path(shutil.copytree(template, Path(folder) / "copy")))


ACTIONS: dict[str, Callable[[Path], None]] = {
    "replace": replace,
    "replace_carelessly": replace_carelessly,
    "epoch": epoch,
    "commit": commit,
    "merge": take_in,
    "mark": mark,
    "sync": sync,
}


def main() -> None:
    action = ACTIONS[sys.argv[1]]
    # What is done once a process, reads files and is not what is struck here:
    predictions_of(0)  # numpy imports parts of itself
    folder_of(Path())  # the suite behind the specification is loaded
    for number, line in enumerate(sys.stdin):
        folder = Path(line.removesuffix("\n"))
        if action is sync and number == 0:
            warm_up(folder)
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGSTOP)
            try:
                action(folder)
            except ResbenchError as error:
                print(f"fault {error}", flush=True)
                os._exit(3)
            os._exit(0)
        os.waitpid(child, os.WUNTRACED)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(f"end {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()
