import dataclasses
import hashlib
import json
import logging
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resbench.data import parquet, sources
from resbench.data.cache import cache_dir
from resbench.data.sources import data_dir, identify, load, parse_locations
from resbench.datasets import DATA_SETS
from resbench.errors import EnvironmentFault, UsageError
from tests.data.archives import damaged, in_order, make_images, make_parquet_folder
from tests.factory import Hostile


def cached_pixels(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "user-cache").glob("*.npz"))


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_telling_data_sets_apart_imports_nothing_heavy(tmp_path: Path) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    identify("cifar10", {"cifar10": folder})
    code = (
        "import sys\n"
        "from resbench.data.sources import identify, parse_locations\n"
        f"identify('cifar10', parse_locations([{f'cifar10={folder}'!r}]))\n"
        "identify('digits', {}), identify('cifar100', {})\n"
        "print([m for m in ('numpy', 'torch', 'pyarrow', 'PIL', 'sklearn') if m in sys.modules])"
    )
    assert python(code).stdout == "[]\n"


def test_absent_archive_says_what_to_download_and_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        load(identify("cifar10", {}))
    for part in (
        str(tmp_path / "user-data" / "cifar-10-python.tar.gz"),
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
        "resbench data fetch cifar10",
        "--data cifar10=FOLDER",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_odd_characters_in_a_path_change_nothing(tmp_path: Path) -> None:
    plain = identify("cifar10", {"cifar10": make_parquet_folder(tmp_path / "plain")})
    odd = tmp_path / "ä b%20#md5=x" / "plain"
    moved = identify("cifar10", {"cifar10": make_parquet_folder(odd)})
    assert dataclasses.replace(moved, path=plain.path) == plain


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("cifar10-jpeg75", "cifar10-jpeg75"),
        ("cifar10", "cifar10"),
        ("CIFAR-10", "cifar-10"),
        ("../x|<b>`\n", "x-b"),
        ("ü", "cifar10"),
        ("a" * 100, "a" * 48),
    ],
)
def test_label_is_an_identifier_and_never_that_of_the_published_set(
    tmp_path: Path, folder: str, label: str
) -> None:
    path = make_parquet_folder(tmp_path / "within" / folder)
    source = identify("cifar10", {"cifar10": path})
    assert source.label == f"{label}-{source.id.removeprefix('sha256:')[:4]}"
    assert not source.published


def test_two_folders_of_one_name_have_two_labels(tmp_path: Path) -> None:
    folders = [make_parquet_folder(tmp_path / str(seed) / "mine", seed=seed) for seed in (0, 2)]
    one, two = (identify("cifar10", {"cifar10": folder}) for folder in folders)
    assert one.label != two.label
    copy = make_parquet_folder(tmp_path / "copy" / "mine")
    assert identify("cifar10", {"cifar10": copy}).label == one.label


def test_data_folder_is_searched(tmp_path: Path) -> None:
    made = make_parquet_folder(tmp_path / "user-data" / "cifar10")
    source = identify("cifar10", {})
    assert (source.path, source.published) == (made, False)
    assert identify("cifar100", {}).path is None


def test_folder_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    first = identify("cifar10", {"cifar10": folder})
    expected = load(first)
    monkeypatch.delattr(parquet, "read_parquet")
    assert identify("cifar10", {"cifar10": folder}) == first
    again = load(first)
    assert again.fingerprint == expected.fingerprint
    np.testing.assert_array_equal(again.train_images, in_order(*make_images(10, 4))[0])
    assert again.class_names == expected.class_names


def test_files_are_read_again_only_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locations = {"cifar10": make_parquet_folder(tmp_path / "made")}
    path, reads = tmp_path / "made" / ONE, list[object]()
    digest = hashlib.file_digest

    def read(file: Any, name: str) -> Any:
        reads.append(file)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", read)
    first = identify("cifar10", locations)
    assert (identify("cifar10", locations), len(reads)) == (first, 6), "changed a moment ago"
    monkeypatch.setattr(sources, "SETTLED_S", -60.0)
    for _ in range(3):
        assert identify("cifar10", locations) == first
    assert len(reads) == 9
    times, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(EnvironmentFault, match="not a readable Parquet file"):
        identify("cifar10", locations)


def test_damaged_cache_is_noticed_and_replaced(tmp_path: Path) -> None:
    source = identify("cifar10", {"cifar10": make_parquet_folder(tmp_path / "made")})
    (stored,) = cached_pixels(tmp_path)
    whole, randoms = stored.read_bytes(), random.Random(0)
    for _ in range(40):
        stored.write_bytes(damaged(whole, randoms))
        images = load(source)
        assert f"sha256:{images.fingerprint}" == source.id
        assert images.class_names == tuple("0123456789")
    identify("cifar10", {"cifar10": make_parquet_folder(tmp_path / "other", train_per_class=2)})
    (others,) = set(cached_pixels(tmp_path)) - {stored}
    others.replace(stored)  # sound, and not what its name says
    assert f"sha256:{load(source).fingerprint}" == source.id
    of_an_earlier_version = json.dumps({"fingerprint": "0" * 64})
    wrong = [f'{{"fingerprint-2": {value}}}' for value in ('"x"', "null")]
    for content in ("", "{", "[]", *wrong, of_an_earlier_version):
        for path in (tmp_path / "user-cache").glob("*.json"):
            path.write_text(content)
        assert identify("cifar10", {"cifar10": tmp_path / "made"}) == source


def test_nothing_in_the_cache_is_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    source = identify("cifar10", {"cifar10": make_parquet_folder(tmp_path / "made")})
    (stored,) = cached_pixels(tmp_path)
    bomb = np.array([Hostile(marker)], dtype=object)
    for path in (stored, tmp_path / "control.npz"):
        np.savez(path, train_images=bomb)
    assert f"sha256:{load(source).fingerprint}" == source.id
    assert not marker.exists()
    with np.load(tmp_path / "control.npz", allow_pickle=True) as control:
        assert control["train_images"].size == 1
    assert marker.exists(), "the control: this file does something"


def test_processes_that_race_for_the_cache_agree(tmp_path: Path) -> None:
    folder = make_parquet_folder(tmp_path / "made", train_per_class=20)
    code = (
        "import pathlib\nfrom resbench.data.sources import identify, load\n"
        f"source = identify('cifar10', {{'cifar10': pathlib.Path({str(folder)!r})}})\n"
        "print(source.id[7:], load(source).fingerprint)"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = {racer.communicate()[0] for racer in racers}
    fingerprint = identify("cifar10", {"cifar10": folder}).id[7:]
    assert printed == {f"{fingerprint} {fingerprint}\n"}
    assert not list((tmp_path / "user-cache").glob(".tmp-*"))


def test_cache_that_cannot_be_written_costs_only_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESBENCH_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        source = identify("cifar10", {"cifar10": make_parquet_folder(tmp_path / "made")})
        assert f"sha256:{load(source).fingerprint}" == source.id
    assert "not cached" in caplog.text


def test_full_disk_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    code = (
        "import pathlib, resource, signal\nfrom resbench.data.sources import identify\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        f"print(identify('cifar10', {{'cifar10': pathlib.Path({str(folder)!r})}}).id[7:])"
    )
    shown = python(code)
    assert "File too large" in shown.stderr
    assert [path.suffix for path in (tmp_path / "user-cache").iterdir()] == [".json"]
    assert shown.stdout.strip() == identify("cifar10", {"cifar10": folder}).id[7:]


def test_data_changed_since_it_was_identified_is_refused(tmp_path: Path) -> None:
    source = identify("cifar10", {"cifar10": make_parquet_folder(tmp_path / "made")})
    make_parquet_folder(tmp_path / "made", seed=7)
    load(source)  # still held by the cache, by content
    for path in cached_pixels(tmp_path):
        path.unlink()
    with pytest.raises(EnvironmentFault, match=f"expected {source.id[7:]}: the data has changed"):
        load(source)


def test_digits_are_checked_against_their_known_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = identify("digits", {})
    assert f"sha256:{load(source).fingerprint}" == source.id
    assert (source.label, source.published) == ("digits", False)
    other = dataclasses.replace(DATA_SETS["digits"], fingerprint="0" * 64)
    monkeypatch.setitem(DATA_SETS, "digits", other)
    said = (
        f"digits: the fingerprint is {source.id[7:]}, expected {'0' * 64}: its row in datasets.py"
    )
    with pytest.raises(EnvironmentFault, match=said):
        load(identify("digits", {}))


def test_a_file_that_changes_its_split_makes_another_data_set(tmp_path: Path) -> None:
    folder = make_parquet_folder(tmp_path / "made", train_per_class=20)
    before = identify("cifar10", {"cifar10": folder})
    for file, name in ((TEST, "test-1.parquet"), (TWO, "test-0.parquet"), (ONE, "train-0.parquet")):
        (folder / file).rename(folder / name)
    after = identify("cifar10", {"cifar10": folder})
    assert after.id != before.id
    assert (len(load(before).test_labels), len(load(after).test_labels)) == (10, 110)


def test_what_is_known_of_a_folder_holds_for_its_data_set_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    for settled_s in (sources.SETTLED_S, -60.0):
        monkeypatch.setattr(sources, "SETTLED_S", settled_s)
        identify("cifar10", {"cifar10": folder})
        with pytest.raises(EnvironmentFault, match="expected the columns img"):
            identify("cifar100", {"cifar100": folder})


def test_a_file_of_a_folder_is_not_taken_for_an_archive(tmp_path: Path) -> None:
    file = make_parquet_folder(tmp_path / "made") / TEST
    with pytest.raises(EnvironmentFault, match=f"{TEST}: is a file. Name the folder"):
        identify("cifar10", {"cifar10": file})


SEGMENT = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)


@given(SEGMENT)
def test_any_path_is_taken_literally(segment: str) -> None:
    path = Path("/somewhere") / segment
    expected = Path(os.path.abspath(path))
    assert parse_locations([f"cifar10={path}"]) == {"cifar10": expected}


def test_a_location_may_be_relative_or_below_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/somewhere")
    assert parse_locations(["cifar100=../b"]) == {"cifar100": tmp_path.parent / "b"}
    assert parse_locations(["cifar100=~/b"]) == {"cifar100": Path("/somewhere/b")}
    monkeypatch.setenv("RESBENCH_DATA_DIR", "~/data")
    assert data_dir() == Path("/somewhere/data")
    monkeypatch.setenv("RESBENCH_CACHE_DIR", "~/cache")
    assert cache_dir() == Path("/somewhere/cache")


def test_every_problem_is_reported_at_once() -> None:
    pairs = ["cifar10", "cifra100=/a", "digits=/a", "cifar10=", "cifar100=/a", "cifar100=/b"]
    with pytest.raises(UsageError) as caught:
        parse_locations(pairs)
    assert str(caught.value).splitlines() == [
        "--data 'cifar10': expected NAME=PATH, for instance cifar10=FOLDER.",
        "--data 'cifra100=/a': unknown data set 'cifra100'. Did you mean 'cifar100'? "
        "Allowed: cifar10, cifar100, digits.",
        "--data 'digits=/a': digits comes with resbench's dependencies and has no other location.",
        "--data 'cifar10=': expected a path, got ''.",
        "--data 'cifar100=/b': cifar100 is given twice.",
    ]


def test_nobody_has_no_home_and_still_has_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's user: no HOME, and no name for the uid."""
    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "RESBENCH_DATA_DIR", "RESBENCH_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_294_000)
    assert os.path.expanduser("~") == "~", "the control"
    assert load(identify("digits", {})).num_classes == 10
    with pytest.raises(EnvironmentFault, match="to the folder that RESBENCH_DATA_DIR names"):
        load(identify("cifar10", {}))
    made = make_parquet_folder(tmp_path / "made")
    load(identify("cifar10", {"cifar10": made}))
    assert list(tmp_path.iterdir()) == [made], "nothing is written into the working folder"


def test_what_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))  # root may read anything

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(EnvironmentFault, match=r"user-data.*cannot be read: Permission denied"):
        identify("cifar10", {})
    with pytest.raises(EnvironmentFault, match=r"made.*cannot be read: Permission denied"):
        identify("cifar10", {"cifar10": tmp_path / "made"})


@pytest.mark.parametrize("below", ["plain_text", "data"])
def test_the_folder_that_a_hub_adds_is_found(tmp_path: Path, below: str) -> None:
    made = make_parquet_folder(tmp_path / "cloned" / below)
    source = identify("cifar10", {"cifar10": tmp_path / "cloned"})
    assert (source.path, source.label[:-5]) == (made, "cloned")
    make_parquet_folder(tmp_path / "cloned" / "other")
    with pytest.raises(EnvironmentFault) as caught:
        identify("cifar10", {"cifar10": tmp_path / "cloned"})
    assert f"several folders in it have Parquet files ({', '.join(sorted([below, 'other']))})" in (
        str(caught.value)
    )


def renamed(folder: Path, names: dict[str, str]) -> Path:
    make_parquet_folder(folder)
    for old, new in names.items():
        (folder / old).rename(folder / new)
    return folder


ONE, TWO = "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"
TEST = "test-00000-of-00001.parquet"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("train-00000-of-00002-0a1b2c3d4e5f6071.parquet", "train-00001-of-00002-9f8e7d6c.parquet"),
        ("train-0.parquet", "train-1.parquet"),
        ("train_1.parquet", "train_2.parquet"),
    ],
)
def test_parts_may_be_named_in_any_of_the_usual_ways(tmp_path: Path, one: str, two: str) -> None:
    source = identify("cifar10", {"cifar10": renamed(tmp_path / "a", {ONE: one, TWO: two})})
    assert source.id == identify("cifar10", {"cifar10": make_parquet_folder(tmp_path / "b")}).id


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (ONE, "aside"),
        ("train-00000-of-00002-0a1b2c3d4e5f6071.parquet", "aside"),
        ("train-00000-of-00001-0a1b2c3d.parquet", "train-00000-of-00001-9f8e7d6c.parquet"),
        ("train-00000-of-00002-0a1b2c3d.parquet", "train-00000-of-00002-9f8e7d6c.parquet"),
        ("train-00000-of-00003.parquet", "train-00002-of-00003.parquet"),
        ("train-0.parquet", "train-2.parquet"),
        ("train-5.parquet", "aside"),
        ("train-0a1b2c3d.parquet", "train-9f8e7d6c.parquet"),
    ],
)
def test_parts_that_are_missing_or_there_twice_are_refused(
    tmp_path: Path, one: str, two: str
) -> None:
    folder = renamed(tmp_path / "made", {TWO: two} | ({ONE: one} if one != ONE else {}))
    with pytest.raises(EnvironmentFault, match="not all parts of the split, each once: train"):
        identify("cifar10", {"cifar10": folder})


def test_a_part_that_is_a_copy_of_another_is_refused(tmp_path: Path) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    (folder / TWO).write_bytes((folder / ONE).read_bytes())
    with pytest.raises(EnvironmentFault, match=f"{TWO}: the same file as {ONE}. Remove one."):
        identify("cifar10", {"cifar10": folder})
