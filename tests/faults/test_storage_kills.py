"""Promise 2: a kill at any storage system call leaves every file old or new, never mixed."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from resbench.errors import ResbenchError
from resbench.store.layout import is_marked, open_for_writing
from resbench.store.locks import wait_lock
from resbench.store.metrics import rewind
from resbench.store.scan import scan
from resbench.store.transfer import merge, pack
from resbench.store.verify import verify_run

from ..factory import EPOCHS, complete, completed, folder_of, loaded, unfinished, work
from .storage_strike import driver

SYSCALLS = (
    "openat",
    "write",
    "fsync",
    "/^rename",
    "close",
    "/^unlink",
    "ftruncate",
    "/^mkdir",
    "flock",
)
OLD, NEW = b"old " * 5000, b"new content " * 5000


Check = Callable[[Path], list[str]]


def campaign(action: str, template: Path, check: Check, step: int) -> list[str]:
    """Kill ``action`` before its k-th call of each kind, k = 1, 1 + step, ...; what was wrong."""
    complaints: list[str] = []
    struck = 0
    with driver(action) as process:
        for offset, syscall in enumerate(SYSCALLS):
            k = 1 + offset % step
            while True:
                folder = template.with_name("struck")
                shutil.copytree(template, folder, symlinks=True)
                status, said = process.strike(folder, f"{syscall}:signal=KILL:when={k}")
                assert status in (0, -signal.SIGKILL), said
                place = f"{syscall} {k}: "
                complaints += [place + complaint for complaint in check(folder)]
                shutil.rmtree(folder)
                if status == 0:  # fewer than k calls: all have been struck
                    break
                struck += 1
                k += step
    assert struck >= 3, f"{struck} kills are no campaign"
    return complaints


def old_or_new(folder: Path) -> list[str]:
    content = (folder / "file").read_bytes()
    with wait_lock(folder):
        left = [path.name for path in folder.iterdir() if path.name.startswith(".tmp-")]
    mixed = [] if content in (OLD, NEW) else [f"{len(content)} bytes, neither old nor new"]
    return mixed + [f"{name} stays" for name in left]


def resumes(folder: Path) -> list[str]:
    """The next owner of the lock resumes and ends with an unbroken run's bytes."""
    run = folder_of(folder)
    with wait_lock(run.path):
        payload, warnings = loaded(run)
        if payload is None or warnings:
            return [f"no valid checkpoint: {warnings}"]
        epoch = int(payload.split()[-1])
        if epoch not in (EPOCHS - 1, EPOCHS):
            return [f"back to epoch {epoch}"]
        for path in (run.metrics, run.timing):
            rewind(path, epoch)
        for next_epoch in range(epoch + 1, EPOCHS + 1):
            work(run, 0, next_epoch)
        complete(run, 0)
    return [*verify_run(run), *differs(folder)]


def commits(folder: Path) -> list[str]:
    """There is a sound record or none; the next owner can always commit."""
    found = scan(folder)
    if found.problems or len(found.records) + len(found.incomplete) != 1:
        return [*found.problems, f"{len(found.records)} records"]
    run = folder_of(folder)
    with wait_lock(run.path):
        complete(run, 0)
    return [*verify_run(run), *differs(folder)]


def differs(folder: Path) -> list[str]:
    """Compare the run of ``folder`` with an unbroken one next to it."""
    run, unbroken = folder_of(folder), folder_of(folder.with_name("unbroken"))
    expected = {path.name: path.read_bytes() for path in unbroken.path.iterdir()}
    found = {path.name: path.read_bytes() for path in run.path.iterdir() if path.name != ".lock"}
    names = expected.keys() | found.keys()
    return [f"{name} differs" for name in names if expected.get(name) != found.get(name)]


def merges(folder: Path) -> list[str]:
    """Each run is wholly in or wholly out, none is lost, and merging again brings all in."""
    open_for_writing(folder)
    before = scan(folder)
    complaints = list(before.problems)
    run = folder_of(folder, 0)
    if run.key not in before.records and loaded(run)[0] is None:
        complaints.append("the unfinished run is lost")
    again = merge(folder, [folder / "packed.tar"])
    complaints += [reason for _, reason in again.refused]
    after = scan(folder)
    complaints += after.problems
    if len(after.records) != 2 or after.incomplete:
        complaints.append(f"{len(after.records)} records after merging again")
    runs = folder / "runs"
    return complaints + [
        f"{p.name} stays" for p in runs.iterdir() if p.name.startswith((".t", ".a"))
    ]


def opens(folder: Path) -> list[str]:
    try:
        open_for_writing(folder / "results")
    except ResbenchError as error:
        return [str(error)]
    return [] if is_marked(folder / "results") else ["not marked"]


def prepare(action: str, template: Path) -> Check:
    """Build what ``action`` starts from; return how to look at what a kill left."""
    template.mkdir()
    if action.startswith("replace"):
        (template / "file").write_bytes(OLD)
        return old_or_new
    if action == "epoch":
        completed(template.with_name("unbroken"))
        unfinished(template, epochs=EPOCHS - 1)
        return resumes
    if action == "commit":
        completed(template.with_name("unbroken"))
        unfinished(template)
        return commits
    if action == "merge":
        for seed in range(2):
            completed(template.with_name("there"), seed)
        open_for_writing(template)
        unfinished(template, 0, epochs=1)
        pack(template.with_name("there"), template / "packed.tar")
        return merges
    return opens


SAMPLE = [("replace", 1), ("mark", 1), ("epoch", 4), ("commit", 4), ("merge", 8)]
ALL = [
    pytest.param(action, 1, marks=pytest.mark.slow, id=f"{action}-all")
    for action in ("epoch", "commit", "merge")
]


@pytest.mark.parametrize(("action", "step"), [*SAMPLE, *ALL])
def test_kill_at_a_system_call_leaves_old_or_new(tmp_path: Path, action: str, step: int) -> None:
    check = prepare(action, tmp_path / "template")
    assert campaign(action, tmp_path / "template", check, step) == []


def test_control_a_careless_writer_is_caught(tmp_path: Path) -> None:
    check = prepare("replace_carelessly", tmp_path / "template")
    complaints = campaign("replace_carelessly", tmp_path / "template", check, 1)
    assert any("0 bytes, neither old nor new" in complaint for complaint in complaints)
