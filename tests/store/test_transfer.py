from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from resbench.errors import EnvironmentFault
from resbench.store import locks, transfer
from resbench.store.atomic import dump_json
from resbench.store.layout import RunFolder, open_for_writing
from resbench.store.locks import wait_lock
from resbench.store.predictions import write_predictions
from resbench.store.records import _record_hash, read_record, write_record
from resbench.store.scan import scan
from resbench.store.transfer import MANIFEST, merge, pack
from resbench.store.verify import verify_run

from ..factory import (
    altered,
    complete,
    completed,
    folder_of,
    predictions_of,
    record_of,
    unfinished,
)
from ..mini import ran

Members = list[tuple[tarfile.TarInfo, bytes]]
Edit = Callable[[Members], object]


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Everything below ``folder`` but locks: content of files, targets of links."""
    found: dict[str, bytes | str] = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"link to {path.readlink()}"
        elif path.is_file() and path.name != ".lock":
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A tar of two finished runs."""
    for seed in range(2):
        completed(tmp_path / "there", seed)
    pack(tmp_path / "there", tmp_path / "out.tar")
    return tmp_path / "out.tar"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A results folder without runs."""
    open_for_writing(tmp_path / "here")
    return tmp_path / "here"


# -- packing


def test_a_run_that_a_merge_would_refuse_is_left_out_and_named(tmp_path: Path) -> None:
    sound, damaged = (completed(tmp_path / "there", seed) for seed in range(2))
    with damaged.timing.open("a") as file:
        file.write("garbage\n")
    packed, [(name, why)] = pack(tmp_path / "there", tmp_path / "out.tar")
    assert (packed, name) == ([sound.path.name], damaged.path.name)
    assert "timing.jsonl" in why


def test_same_runs_give_the_same_bytes(tmp_path: Path, packed: Path) -> None:
    for seed in (1, 0):  # another order, other times, another folder
        completed(tmp_path / "again", seed)
    pack(tmp_path / "again", tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == packed.read_bytes()


def test_any_tar_program_reads_a_pack_whose_manifest_lists_each_file(packed: Path) -> None:
    (first, manifest), *files = members_of(packed)
    assert (first.name, len(files)) == (MANIFEST, 10)
    assert manifest_of(files) == json.loads(manifest)


def test_weights_and_links_stay_and_their_run_is_whole_without_them(tmp_path: Path) -> None:
    run = completed(tmp_path / "there", weights=b"precious")
    assert "weights.safetensors" in read_record(run).files
    run.timing.unlink()
    run.timing.symlink_to(run.weights)
    pack(tmp_path / "there", tmp_path / "out.tar")
    assert b"precious" not in (tmp_path / "out.tar").read_bytes()
    report = merge(tmp_path / "here", [tmp_path / "out.tar"])
    assert report.added == [run.path.name]
    assert verify_run(RunFolder(tmp_path / "here", run.key)) == ()
    assert merge(tmp_path / "there", [tmp_path / "out.tar"]).identical == [run.path.name]
    assert run.weights.read_bytes() == b"precious"


def test_a_run_that_starts_sweeps_no_pack_that_is_being_written_into_its_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = completed(here)

    def started(*args: Any, **kwargs: Any) -> str:
        open_for_writing(here)
        return dump_json(*args, **kwargs)

    monkeypatch.setattr(transfer, "dump_json", started)  # of the manifest, the first in the tar
    assert pack(here, here / "out.tar") == ([run.path.name], [])
    assert (here / "out.tar").exists()


# -- merging


def test_merged_runs_are_those_that_were_packed(packed: Path, here: Path) -> None:
    """In the place of unfinished ones too."""
    run = unfinished(here, 0, epochs=1)
    report = merge(here, [packed])
    assert len(report.added) == 2
    assert (report.identical, report.refused) == ([], [])
    assert not run.checkpoint.exists()
    assert snapshot(here / "runs") == snapshot(packed.with_name("there") / "runs")
    assert all(verify_run(folder_of(here, seed)) == () for seed in range(2))


@pytest.mark.parametrize("unfinished_seeds", [[], [0, 1]])
def test_files_are_on_disk_before_their_run_has_its_name_and_the_name_before_the_return(
    packed: Path, here: Path, monkeypatch: pytest.MonkeyPatch, unfinished_seeds: list[int]
) -> None:
    """An unfinished run that makes room is removed only then."""
    for seed in unfinished_seeds:
        unfinished(here, seed, epochs=1)
    order: list[int | str] = []
    rename, rmtree = os.rename, shutil.rmtree

    def renamed(source: Path, target: Path) -> None:
        if not target.name.startswith(".aside-"):
            assert {path.stat().st_ino for path in (source, *source.iterdir())} <= set(order)
            order.append("named")
        rename(source, target)

    def removed(path: Path, ignore_errors: bool = False) -> None:
        if path.name.startswith(".aside-"):
            assert order[-1] == (here / "runs").stat().st_ino
        rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(os, "fsync", lambda number: order.append(os.fstat(number).st_ino))
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(shutil, "rmtree", removed)
    assert len(merge(here, [packed]).added) == 2
    assert order.count("named") == 2
    assert order[-1] == (here / "runs").stat().st_ino


def edit_predictions(run: RunFolder) -> None:
    other = predictions_of(0)
    other.pred[:4] = (other.pred[:4] + 1) % 10
    write_predictions(run.predictions, other)
    write_record(run, record_of(run, 0, "another CPU"))


def edit_draws(run: RunFolder) -> None:
    """Another order and noise, which happen to give the same numbers."""
    record = altered(record_of(run, 0, "another CPU"), data={"noise_hash": "def"})
    write_record(run, structs.replace(record, seeds={"order": 5}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ()),
        ({"shift": 0.125}, ("metrics.jsonl: different from epoch 1 on",
                            "trained on a CPU, torch 2.13.0 here, on another CPU")),
        ({"epochs": 2}, ("result.epoch 3 against 2", "metrics.jsonl: different from epoch 3 on")),
        ({"edit": edit_predictions}, ("predictions.npz: 4 of 40 images classified differently",)),
        ({"edit": edit_draws}, ("data.noise_hash abc against def", "against 5")),
    ],
    ids=["identical", "metrics", "shorter", "predictions", "draws"],
)  # fmt: skip
def test_of_two_runs_of_a_key_the_one_here_stays_and_every_other_number_is_named(
    tmp_path: Path, here: Path, changes: dict[str, Any], said: Sequence[str]
) -> None:
    """Another machine and time are no difference."""
    run = completed(here)
    before = snapshot(here)
    edit = changes.pop("edit", None)
    theirs = unfinished(tmp_path / "there", **changes)
    complete(theirs, device_name="another CPU")
    if edit is not None:
        edit(theirs)
    pack(tmp_path / "there", tmp_path / "out.tar")
    report = merge(here, [tmp_path / "out.tar"])
    assert report.identical == ([] if said else [run.path.name])
    assert [name for name, _ in report.refused] == ([run.path.name] if said else [])
    assert all(words in report.refused[0][1] for words in said)
    assert snapshot(here) == before


def test_a_run_is_replaced_where_a_file_that_is_removed_keeps_a_name_until_it_is_closed(
    packed: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS: no folder can be removed while a lock in it is held."""
    unlink = os.unlink

    def renamed(path: str, *, dir_fd: int | None = None) -> None:
        facts = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        if any(os.path.samestat(facts, os.fstat(lock.fileno())) for lock in locks._held):
            kept = Path(path).with_name(".nfs1")
            os.rename(path, kept, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        else:
            unlink(path, dir_fd=dir_fd)

    run = unfinished(here, 0, epochs=1)
    wait_lock(run.path).close()
    (tmp_path / "no.tar").write_bytes(b"")
    monkeypatch.setattr(os, "unlink", renamed)
    assert len(merge(here, [packed]).added) == 2
    assert list((here / "runs").glob(".aside-*")) == []
    assert len(merge(tmp_path / "new", [tmp_path / "no.tar"]).refused) == 1
    assert not (tmp_path / "new").exists()


def test_run_being_trained_here_is_left_alone(packed: Path, here: Path) -> None:
    run = unfinished(here, 0, epochs=1)
    before = snapshot(run.path)
    with wait_lock(run.path):
        report = merge(here, [packed])
    ((name, reason),) = report.refused
    assert (name, "being trained here now" in reason) == (run.path.name, True)
    assert len(report.added) == 1
    assert snapshot(run.path) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_a_command_that_writes_a_file_leaves_nothing_of_it(
    tmp_path: Path, number: int
) -> None:
    completed(tmp_path / "results")
    code = (
        "import os\n"
        "from resbench.cli.main import main\n"
        "from resbench.store import transfer\n"
        "def strike(*_, **__): os.kill(os.getpid(), int(os.environ['NUMBER']))\n"
        "transfer.dump_json = strike\n"
        "main()"
    )
    done = ran(tmp_path, sys.executable, "-c", code, "pack", "runs.tar", NUMBER=str(int(number)))
    assert (done.returncode, done.stderr) == (128 + number, "")
    assert os.listdir(tmp_path) == ["results"]


def test_damaged_record_here_is_named_not_overwritten(packed: Path, here: Path) -> None:
    merge(here, [packed])
    run = folder_of(here, 0)
    run.metrics.write_bytes(b"")
    before = snapshot(here)
    ((name, reason),) = merge(here, [packed]).refused
    assert name == run.path.name
    assert reason.startswith(f"{run.record}: refused")
    assert snapshot(here) == before


def test_two_merges_at_once_are_one_after_the_other(packed: Path, here: Path) -> None:
    with wait_lock(here / "runs"), pytest.raises(EnvironmentFault, match="another merge works"):
        merge(here, [packed])


def test_a_merge_waits_for_a_run_that_starts(
    packed: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting, pauses = wait_lock(here / "runs"), itertools.count(1)

    def sleep(_: float) -> None:
        if next(pauses) == 100:
            starting.close()

    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=sleep))
    assert len(merge(here, [packed]).added) == 2


def test_what_a_killed_merge_set_aside_is_put_back(here: Path) -> None:
    run = unfinished(here, 5, epochs=1)
    before = snapshot(run.path)
    aside = run.path.rename(here / "runs" / f".aside-{run.path.name}")
    leftover = here / "runs" / ".tmp-1-abcdef01" / "runs"
    leftover.mkdir(parents=True)
    open_for_writing(here)
    assert snapshot(run.path) == before
    assert not leftover.exists()
    shutil.copytree(run.path, aside)  # killed after the merged run had its name
    open_for_writing(here)
    assert snapshot(run.path) == before
    assert not aside.exists()


# -- hostile archives


def members_of(archive: Path) -> Members:
    with tarfile.open(archive) as tar:
        found = [(member, tar.extractfile(member)) for member in tar.getmembers()]
        return [(member, file.read()) for member, file in found if file]


def manifest_of(files: Members) -> dict[str, Any]:
    digests = {member.name: (hashlib.sha256(data), len(data)) for member, data in files}
    listed = {name: {"sha256": d.hexdigest(), "size": size} for name, (d, size) in digests.items()}
    return {"format": 1, "files": listed}


def rebuild(archive: Path, members: Members, *, relist: bool) -> None:
    """Write ``members``; with ``relist`` the manifest is made to fit, as a forger would."""
    if relist:
        members[0] = (members[0][0], json.dumps(manifest_of(members[1:])).encode())
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def change(**fields: Any) -> Edit:
    """Change the header of the first file."""

    def edit(members: Members) -> None:
        for name, value in fields.items():
            setattr(members[1][0], name, value)

    return edit


def rename(name: str) -> Edit:
    return change(name=name)


def retype(kind: bytes) -> Edit:
    return change(type=kind, linkname="/etc/passwd")


def put(index: int, data: bytes) -> Edit:
    """Replace the content of a member; the first is the manifest."""
    return lambda members: members.__setitem__(index, (members[index][0], data))


def extra(name: str) -> Edit:
    return lambda members: members.append((tarfile.TarInfo(name), b"x"))


def folder_first(members: Members) -> None:
    """What `tar cf` of a whole folder begins with."""
    header = tarfile.TarInfo("results")
    header.type = tarfile.DIRTYPE
    members.insert(0, (header, b""))


RUN = "runs/0123456789abcdef"
NO_PLACE = "not a file of a run"
NOT_PLAIN = "is not a plain file"
HOSTILE: dict[str, tuple[Edit, str]] = {
    "parent": (rename("../outside"), NO_PLACE),
    "parent inside": (rename(f"{RUN}/../../../outside"), NO_PLACE),
    "absolute": (rename("/tmp/resbench-outside"), NO_PLACE),
    "dot": (rename(f"./{RUN}/record.json"), NO_PLACE),
    "double slash": (rename(f"runs//{RUN[5:]}/record.json"), NO_PLACE),
    "upper case": (rename(f"{RUN}/RECORD.JSON"), NO_PLACE),
    "upper hex": (rename("runs/0123456789ABCDEF/record.json"), NO_PLACE),
    "backslash": (rename(f"{RUN}\\record.json"), NO_PLACE),
    "newline": (rename(f"{RUN}/record.json\n"), NO_PLACE),
    "other file": (rename(f"{RUN}/state.json"), NO_PLACE),
    "lock": (rename(f"{RUN}/.lock"), NO_PLACE),
    "checkpoint": (rename(f"{RUN}/checkpoint.bin"), NO_PLACE),
    "marker": (rename("resbench.json"), NO_PLACE),
    "deeper": (rename(f"{RUN}/runs/record.json"), NO_PLACE),
    "long": (rename(f"{RUN}/{'x' * 300}/record.json"), NO_PLACE),
    "unicode": (rename(f"{RUN}/rec\u043erd.json"), NO_PLACE),
    "symlink": (retype(tarfile.SYMTYPE), NOT_PLAIN),
    "hard link": (retype(tarfile.LNKTYPE), NOT_PLAIN),
    "device": (retype(tarfile.CHRTYPE), NOT_PLAIN),
    "block device": (retype(tarfile.BLKTYPE), NOT_PLAIN),
    "pipe": (retype(tarfile.FIFOTYPE), NOT_PLAIN),
    "folder": (retype(tarfile.DIRTYPE), NOT_PLAIN),
    "contiguous": (retype(tarfile.CONTTYPE), NOT_PLAIN),
    "twice": (lambda members: members.append(members[1]), "is in it twice"),
    "second manifest": (extra(MANIFEST), "is in it twice"),
}
UNLISTED: dict[str, tuple[Edit, str]] = {
    "no manifest": (
        lambda members: members.pop(0),
        f"not a pack, it does not begin with {MANIFEST}",
    ),
    "tar of a results folder": (folder_first, f"not a pack, it does not begin with {MANIFEST}"),
    "member lost": (lambda members: members.pop(3), "is in its manifest only"),
    "not listed": (extra(f"{RUN}/record.json"), "not in its manifest"),
    "newer format": (put(0, b'{"format": 2, "files": {}}'), "format 2; this resbench reads 1"),
    "manifest damaged": (put(0, b"{"), f"{MANIFEST}: not JSON"),
    "manifest a list": (put(0, b"[]"), f"{MANIFEST}: a JSON object is needed"),
    "manifest deep": (put(0, b"[" * 100_000), f"{MANIFEST}: nested too deeply"),
    "edited": (put(1, b"x"), "does not fit the sha256"),
}


@pytest.mark.parametrize("case", [*HOSTILE, *UNLISTED])
def test_hostile_archive_is_refused_and_changes_nothing(
    tmp_path: Path, packed: Path, here: Path, case: str
) -> None:
    edit, said = (HOSTILE | UNLISTED)[case]
    members = members_of(packed)
    edit(members)
    rebuild(packed, members, relist=case in HOSTILE)
    before = snapshot(tmp_path)
    report = merge(here, [packed])
    assert (report.added, report.identical) == ([], [])
    ((name, reason),) = report.refused
    assert name == str(packed)
    assert said in reason
    assert reason.isprintable()
    assert snapshot(tmp_path) == before
    assert not Path("/tmp/resbench-outside").exists()


def test_control_the_forgers_tool_makes_archives_that_are_taken(
    tmp_path: Path, packed: Path
) -> None:
    for relist in (False, True):
        rebuild(packed, members_of(packed), relist=relist)
        report = merge(tmp_path / f"here{relist}", [packed])
        assert (len(report.added), report.refused) == (2, [])


def test_a_sound_archive_after_a_hostile_one_is_taken(tmp_path: Path, packed: Path) -> None:
    hostile = tmp_path / "hostile.tar"
    hostile.write_bytes(b"\x1f\x8b" + bytes(2000))
    report = merge(tmp_path / "here", [hostile, packed])
    assert len(report.added) == 2
    assert [name for name, _ in report.refused] == [str(hostile)]


def forged_header(size: bytes, kind: bytes = b"0") -> bytes:
    header = bytearray(tarfile.TarInfo(MANIFEST).tobuf(tarfile.USTAR_FORMAT))
    header[124:136], header[156:157] = size, kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    "data",
    [
        forged_header(b"77777777777\0"),  # 8 GiB claimed
        forged_header(b"\xff" * 12),  # a negative size: older tarfile readers loop for ever
        forged_header(b"\x80" + b"\x7f" * 11),  # 2**87 bytes claimed
        forged_header(b"junkjunkjunk"),
        forged_header(b"00000001000\0", b"L") * 5000,  # long-name headers, one in another
        forged_header(b"00000001000\0", b"x") * 5000,  # extended headers
        forged_header(b"00000001000\0", b"S"),  # a sparse file
        b"",
        b"x" * 511,
        bytes(512),
        bytes(10240),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_hostile_header_is_refused_at_once(tmp_path: Path, data: bytes) -> None:
    archive = tmp_path / "out.tar"
    archive.write_bytes(data)
    report = merge(tmp_path / "here", [archive])
    assert [name for name, _ in report.refused] == [str(archive)]
    assert report.added == []


def test_archive_cut_anywhere_adds_nothing(packed: Path, here: Path) -> None:
    whole = packed.read_bytes()
    before = snapshot(here)
    last = len(whole.rstrip(b"\0"))
    for cut in [*range(0, last, 1009), last - 1]:
        packed.write_bytes(whole[:cut])
        assert len(merge(here, [packed]).refused) == 1
        assert snapshot(here) == before


def test_of_80_bit_flips_none_changes_what_is_merged(tmp_path: Path, packed: Path) -> None:
    whole = packed.read_bytes()
    theirs = snapshot(tmp_path / "there" / "runs")
    seeded = random.Random(3)
    refused = 0
    for _ in range(80):
        damaged = bytearray(whole)
        damaged[seeded.randrange(len(whole))] ^= 1 << seeded.randrange(8)
        packed.write_bytes(damaged)
        report = merge(tmp_path / "here", [packed])
        found = snapshot(tmp_path / "here" / "runs")
        if report.refused:
            refused += 1
            assert found == {}
        else:  # the flip was in padding
            assert found == theirs
            shutil.rmtree(tmp_path / "here")
    assert refused > 20


def forge_record(members: Members) -> None:
    index = next(i for i, (member, _) in enumerate(members) if member.name.endswith("record.json"))
    fields = json.loads(members[index][1])
    fields["result"]["test_top1_err"] = 0.5
    members[index] = (members[index][0], json.dumps(fields).encode())


def forge_epochs(members: Members) -> None:
    """Replace the epochs of a run by a line that is none, and make its record fit."""
    epochs = b"{}\n"
    put(3, epochs)(members)
    fields = json.loads(members[1][1])
    fields["files"]["metrics.jsonl"] = hashlib.sha256(epochs).hexdigest()
    put(1, json.dumps(fields | {"record_hash": _record_hash(fields)}).encode())(members)


def swap_records(members: Members) -> None:
    first, second = (m for m in members if m[0].name.endswith("record.json"))
    first[0].name, second[0].name = second[0].name, first[0].name


@pytest.mark.parametrize(
    ("edit", "said", "refused"),
    [
        (forge_record, "record_hash", 1),
        (swap_records, "belongs to run", 2),
        (lambda members: members.pop(2), "spec.json next to it is missing", 1),
        (lambda members: members.pop(1), "the run is not finished", 1),
        (forge_epochs, "metrics.jsonl:1: damaged", 1),
        (put(4, b"{}\n"), "timing.jsonl:1: damaged", 1),
    ],
)
def test_forged_run_in_a_fitting_archive_is_refused_by_name(
    tmp_path: Path, packed: Path, edit: Edit, said: str, refused: int
) -> None:
    members = members_of(packed)
    edit(members)
    rebuild(packed, members, relist=True)
    report = merge(tmp_path / "here", [packed])
    assert (len(report.refused), len(report.added)) == (refused, 2 - refused)
    for name, reason in report.refused:
        assert said in reason
        assert not (tmp_path / "here" / "runs" / name).exists()
        assert ".tmp-" not in reason
    assert scan(tmp_path / "here").problems == ()
    assert len(scan(tmp_path / "here").records) == 2 - refused


@pytest.mark.parametrize("case", ["missing", "torn", "forged"])
def test_a_merge_that_adds_nothing_leaves_no_folder(
    tmp_path: Path, packed: Path, case: str
) -> None:
    if case == "torn":
        packed.write_bytes(packed.read_bytes()[:5000])
    elif case == "forged":
        members = [m for m in members_of(packed) if not m[0].name.endswith("record.json")]
        rebuild(packed, members, relist=True)
    if case == "missing":
        with pytest.raises(EnvironmentFault, match=r"none\.tar: No such file"):
            merge(tmp_path / "a" / "here", [tmp_path / "none.tar"])
    else:
        assert merge(tmp_path / "a" / "here", [packed]).refused
    assert not (tmp_path / "a" / "here").exists()


def test_a_merge_that_adds_nothing_leaves_a_folder_that_a_run_has_begun_to_use(
    tmp_path: Path, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = transfer._unpack

    def unpack(archive: Path, staging: Path) -> list[str]:
        (tmp_path / "here" / "mlflow.db").write_bytes(b"of a run that starts")
        return real(archive, staging)

    monkeypatch.setattr(transfer, "_unpack", unpack)
    packed.write_bytes(packed.read_bytes()[:5000])
    assert merge(tmp_path / "here", [packed]).refused
    assert (tmp_path / "here" / "mlflow.db").exists()
