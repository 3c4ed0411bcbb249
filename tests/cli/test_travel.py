"""``pack``, ``merge``, ``verify`` and ``data``: what each prints and how it ends."""

from __future__ import annotations

import re
from pathlib import Path

import fsspec
import pytest

from resbench.data.sources import identify
from resbench.datasets import DATA_SETS
from resbench.store.layout import open_for_writing
from tests.data.archives import (
    archive_of,
    make_images,
    make_parquet_folder,
    take_for_published,
    write_batches,
)

from ..factory import completed, unfinished
from .invoke import Shell


def results_of(folder: Path, *seeds: int, shift: float = 0.0) -> Path:
    """A results folder with finished runs."""
    open_for_writing(folder)
    for seed in seeds:
        completed(folder, seed, shift=shift)
    return folder


def test_packed_runs_arrive_whole_and_once(tmp_path: Path, shell: Shell) -> None:
    here, there, pack = results_of(tmp_path / "here", 1, 2), tmp_path / "there", tmp_path / "x.tar"
    packed = shell("pack", pack, "--results", here)
    assert packed.code == 0
    assert re.fullmatch(rf"2 runs in {re.escape(str(pack))} \([1-9][\d,]* kB\)\n", packed.err)
    for summary in ("2 added, 0 already here", "0 added, 2 already here"):
        merged = shell("merge", pack, "--results", there)
        assert (merged.code, merged.err) == (0, f"{summary}, 0 refused\n")
    checked = shell("verify --results", there)
    assert (checked.code, checked.out) == (0, "2 records verified, 0 problems\n")


def test_a_conflict_is_refused_with_its_reason(tmp_path: Path, shell: Shell) -> None:
    there = results_of(tmp_path / "there", 1, 3)
    results_of(tmp_path / "here", 1, 2, shift=0.5)
    shell("pack", tmp_path / "x.tar", "--results", tmp_path / "here")
    merged = shell("merge", tmp_path / "x.tar", "--results", there)
    assert merged.code == 1
    refused, summary = merged.err.splitlines()
    assert "this folder has it with other numbers: " in refused
    assert ": result.train_loss 0.3333333333333333 against 0.8333" in refused
    assert summary == "1 added, 0 already here, 1 refused"


def test_only_sound_finished_runs_are_packed_and_the_others_named(
    tmp_path: Path, shell: Shell
) -> None:
    here = results_of(tmp_path, 1)
    bad, linked, stopped = completed(here, 2), completed(here, 3), unfinished(here, 4)
    bad.metrics.write_bytes(b"")
    linked.path.rename(tmp_path / "elsewhere")
    linked.path.symlink_to(tmp_path / "elsewhere")
    packed = shell("pack", tmp_path / "x.tar")
    *left_out, summary = packed.err.splitlines()
    assert (packed.code, summary.startswith("1 run in ")) == (0, True)
    whys = {bad: "metrics.jsonl next to it", linked: "a link", stopped: "is not finished"}
    assert len(left_out) == len(whys)
    for run, why in whys.items():
        (line,) = (line for line in left_out if line.startswith(f"left out {run.path.name}: "))
        assert why in line


def test_an_empty_folder_has_nothing_to_pack_or_to_verify(tmp_path: Path, shell: Shell) -> None:
    here, out = results_of(tmp_path), tmp_path / "x.tar"
    packed = shell("pack", out)
    assert packed.code == 2
    assert packed.err == f"{here}: no finished run to pack; {out} is not written.\n"
    assert not out.exists()
    checked = shell("verify")
    assert (checked.code, checked.out) == (0, f"{here}: no finished run, nothing to verify.\n")


def test_an_edited_record_is_found(tmp_path: Path, shell: Shell) -> None:
    record = next(results_of(tmp_path, 1, 2).glob("runs/*/record.json"))
    record.write_text(record.read_text().replace('"epoch": 3', '"epoch": 2'))
    found = shell("verify")
    assert found.code == 1
    problem, summary = found.out.splitlines()
    assert str(record) in problem
    assert "it was edited or damaged" in problem
    assert summary == "1 record verified, 1 problem"


def test_data_sets_are_listed_with_where_they_are_or_what_is_wrong_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell
) -> None:
    monkeypatch.setenv("RESBENCH_DATA_DIR", str(tmp_path))
    made = make_parquet_folder(tmp_path / "made")
    listed = shell("data list --data", f"cifar10={made}")
    ten, hundred, digits = listed.out.splitlines()
    assert listed.code == 0
    source = identify("cifar10", {"cifar10": made})
    assert f"{made}  (label {source.label}, 40 + 10 images, {source.id})" in ten
    assert "not available. Run `resbench data fetch cifar100`" in hundred
    assert f"(label digits, 1,438 + 359 images, {DATA_SETS['digits'].id})" in digits
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"half a download")
    listed = shell("data list")
    ten, *others = listed.out.splitlines()
    assert (listed.code, others) == (3, [hundred, digits]), "the others are listed all the same"
    assert "cifar-10-python.tar.gz: not the published cifar10" in ten


def test_an_archive_is_fetched_to_a_folder_and_is_the_published_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell
) -> None:
    """It lies there already, so that no network is needed: it is checked and unpacked."""
    to, folder = tmp_path / "to", archive_of("cifar10").folder
    write_batches(tmp_path / "made" / folder, "cifar10", make_images(10, 5), make_images(10, 1, 1))
    packed = take_for_published(monkeypatch, "cifar10", tmp_path / "made" / folder)
    to.mkdir()
    packed.rename(to / packed.name)
    fetched = shell("data fetch cifar10 --to", to)
    assert (fetched.code, fetched.out) == (0, f"cifar10: {to / folder}\n")
    ten, *_ = shell("data list --data", f"cifar10={to}").out.splitlines()
    assert "(the published data set, 50 + 10 images, " in ten


def test_packs_travel_by_url(tmp_path: Path, shell: Shell) -> None:
    here, there = results_of(tmp_path / "here", 1, 2), tmp_path / "there"
    for url in ("memory://bucket/x.tar", f"file://{tmp_path}/x.tar"):
        packed = shell("pack", url, "--results", here)
        assert (packed.code, packed.err.partition(" (")[0]) == (0, f"2 runs in {url}")
        merged = shell("merge", url, "--results", there)
        assert merged.code == 0
    assert merged.err == "0 added, 2 already here, 0 refused\n"
    assert (tmp_path / "x.tar").read_bytes() == fsspec.open("memory://bucket/x.tar").open().read()


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("gopher://host/x.tar", 2, "gopher"),
        ("memory://bucket/missing.tar", 3, "cannot be read"),
        ("file:///nowhere/at/all/x.tar", 3, "cannot be read"),
    ],
)
def test_a_url_that_gives_nothing_is_one_line(
    tmp_path: Path, shell: Shell, url: str, code: int, said: str
) -> None:
    merged = shell("merge", url, "--results", tmp_path / "there")
    assert merged.code == code
    assert merged.err.count("\n") == 1
    assert merged.err.startswith(f"{url}: ")
    assert said in merged.err
    assert not (tmp_path / "there").exists()
