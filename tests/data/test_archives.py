import dataclasses
import hashlib
import io
import os
import pickle
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resbench.data.archives import _unpickle
from resbench.data.catalog import ARCHIVES
from resbench.data.images import Images
from resbench.data.sources import identify, load
from resbench.errors import EnvironmentFault
from tests.data.archives import (
    cifar_members,
    make_cifar_archive,
    make_images,
    python2_pickle,
    write_archive,
)

TRAIN, TEST = make_images(10, 5), make_images(10, 1, seed=1)
BATCH = "cifar-10-batches-py/data_batch_3"


def members() -> dict[str, bytes]:
    return cifar_members("cifar10", TRAIN, TEST)


def load_vouched(location: Path) -> Images:
    return load(identify("cifar10", {"cifar10": location}))


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made archive that stands in for the published CIFAR-10, in the data folder."""
    path = tmp_path / "user-data" / ARCHIVES["cifar10"].filename
    path.parent.mkdir()
    md5 = str(write_archive(path, members()))[-32:]
    stand_in = dataclasses.replace(ARCHIVES["cifar10"], md5=md5)
    monkeypatch.setitem(ARCHIVES, "cifar10", stand_in)
    return path


def test_batches_are_joined_in_order_as_rgb_images(tmp_path: Path) -> None:
    images = load_vouched(write_archive(tmp_path / "made.tar.gz", members()))
    np.testing.assert_array_equal(images.train_images, TRAIN[0])
    np.testing.assert_array_equal(images.train_labels, TRAIN[1])
    np.testing.assert_array_equal(images.test_images, TEST[0])
    np.testing.assert_array_equal(images.test_labels, TEST[1])
    assert images.train_images.dtype == np.uint8
    assert images.train_labels.dtype == np.int64
    assert images.class_names == tuple(f"class-{i}" for i in range(10))


def test_cifar100_is_read_by_its_fine_labels(tmp_path: Path) -> None:
    location = make_cifar_archive(tmp_path / "made.tar.gz", "cifar100", train_per_class=2)
    images = load(identify("cifar100", {"cifar100": location}))
    assert images.num_classes == 100
    assert sorted(images.train_labels) == sorted([*range(100)] * 2)
    assert len(images.test_images) == 100


def test_columns_stored_first_are_read_as_stored(tmp_path: Path) -> None:
    changed = members()
    data = np.asfortranarray(TRAIN[0][20:30].transpose(0, 3, 1, 2).reshape(10, -1))
    batch = {"data": data, "labels": TRAIN[1][20:30].tolist()}
    changed[BATCH] = pickle.dumps(batch, protocol=3)
    assert data.flags.f_contiguous
    images = load_vouched(write_archive(tmp_path / "made.tar.gz", changed))
    np.testing.assert_array_equal(images.train_images, TRAIN[0])


def test_published_archive_loads_from_the_data_folder(published: Path) -> None:
    source = identify("cifar10", {})
    assert source.printed
    assert source.path == published
    assert load(source).train_images.shape == (50, 32, 32, 3)


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damaged_archive_is_refused_with_both_digests(published: Path, damage: str) -> None:
    whole, randoms = published.read_bytes(), random.Random(damage)
    for _ in range(25):
        at = randoms.randrange(len(whole))
        flipped = whole[at] ^ (1 << randoms.randrange(8))
        damaged = whole[:at] + (bytes([flipped]) + whole[at + 1 :] if damage == "flip" else b"")
        published.write_bytes(damaged)
        with pytest.raises(EnvironmentFault) as caught:
            load(identify("cifar10", {}))
        for part in (published, hashlib.md5(whole), hashlib.md5(damaged)):
            text = str(part) if isinstance(part, Path) else part.hexdigest()
            assert text in str(caught.value)


def test_archive_changed_after_it_was_vouched_for_is_refused(tmp_path: Path) -> None:
    location = write_archive(tmp_path / "made.tar.gz", members())
    load_vouched(location)
    with (tmp_path / "made.tar.gz").open("ab") as file:
        file.write(b"x")
    with pytest.raises(EnvironmentFault, match=f"expected {str(location)[-32:]}"):
        load_vouched(location)


def test_archive_of_ones_own_must_be_vouched_for(tmp_path: Path) -> None:
    location = write_archive(tmp_path / "made.tar.gz", members())
    actual = str(location)[-32:]
    with pytest.raises(EnvironmentFault) as caught:
        load_vouched(tmp_path / "made.tar.gz")
    assert f"MD5 is {actual}, expected {ARCHIVES['cifar10'].md5}" in str(caught.value)
    assert f"--data 'cifar10={location}'" in str(caught.value)


class Hostile:
    """Writes a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.marker),))


def test_hostile_pickle_in_a_vouched_archive_is_never_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        hostile = pickle.dumps({"data": Hostile(marker)}, protocol=protocol)
        for member in members():
            location = write_archive(tmp_path / "made.tar.gz", members() | {member: hostile})
            with pytest.raises(EnvironmentFault, match=r"refused \w+\.mkdir"):
                load_vouched(location)
            assert not marker.exists()
    pickle.loads(hostile)
    assert marker.exists(), "control: without the guard the marker is written"


@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\ngetattr\n(S''\nS'join'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n(S'x'\ntR.",
        b"ccopyreg\n_reconstructor\n(tR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.",
        b"\x82\x01.",
        b"S'id'\nQ.",
    ],
)
def test_no_other_global_can_be_reached(tmp_path: Path, call: bytes) -> None:
    location = write_archive(tmp_path / "made.tar.gz", members() | {BATCH: call})
    with pytest.raises(EnvironmentFault, match="data_batch_3: not a batch of plain arrays"):
        load_vouched(location)


VALID = python2_pickle({"data": np.zeros((2, 3), np.uint8), "labels": [1, 2]})


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=6))
def test_torn_pickles_end_in_one_line_or_in_plain_values(changes: list[tuple[int, int]]) -> None:
    stream = bytearray(VALID)
    for at, byte in changes:
        stream[at] = byte
    message = "made: a dict"
    try:
        assert isinstance(_unpickle(io.BytesIO(bytes(stream)), "made"), dict)
    except EnvironmentFault as error:
        message = str(error)
    assert message.startswith("made: ")


def test_members_outside_the_folder_are_never_written(tmp_path: Path) -> None:
    work = tmp_path / "a" / "b"
    work.mkdir(parents=True)
    outside = {"../x": b"x", f"{tmp_path}/y": b"y", "cifar-10-batches-py/../../../z": b"z"}
    location = write_archive(work / "made.tar.gz", members() | outside)
    before = {path for path in tmp_path.rglob("*") if "user-cache" not in path.parts}
    load_vouched(location)
    after = {path for path in tmp_path.rglob("*") if "user-cache" not in path.parts}
    assert after == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_member_that_is_a_link_or_device_is_refused(tmp_path: Path, kind: bytes) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(members()[BATCH])
    link = tarfile.TarInfo(BATCH)
    link.type, link.linkname = kind, str(secret)
    plain = {name: content for name, content in members().items() if name != BATCH}
    with pytest.raises(EnvironmentFault, match=f"{BATCH} is a link or there twice"):
        load_vouched(write_archive(tmp_path / "made.tar.gz", plain, [link]))


def test_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="there twice"):
        load_vouched(write_archive(tmp_path / "a.tar.gz", members(), [tarfile.TarInfo(BATCH)]))


def test_archive_of_another_data_set_is_refused(tmp_path: Path) -> None:
    location = make_cifar_archive(tmp_path / "made.tar.gz", "cifar100", train_per_class=1)
    with pytest.raises(EnvironmentFault, match=r"lacks cifar-10-batches-py/data_batch_1.*another"):
        load_vouched(location)


def test_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.tar.gz"
    path.write_text("<html>404</html>")
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(EnvironmentFault, match=r"not a whole \.tar\.gz archive"):
        load_vouched(Path(f"{path}#md5={md5}"))


PIXELS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"labels": [1, 2]}, "'data' is not a uint8 array"),
        ({"data": [1, 2], "labels": [1, 2]}, "'data' is not a uint8 array"),
        ({"data": PIXELS[:, :-1], "labels": [1, 2]}, "'data' is not a uint8 array"),
        ({"data": PIXELS.astype("<f4"), "labels": [1, 2]}, "array of type f4"),
        ({"data": PIXELS}, "'labels' is not a list of one integer per image"),
        ({"data": PIXELS, "labels": [1]}, "'labels' is not a list of one integer per image"),
        ({"data": PIXELS, "labels": [1, "2"]}, "'labels' is not a list of one integer per image"),
        ({"data": PIXELS, "labels": [1, 10]}, "row 1: label 10 is outside 0..9"),
        ({"data": PIXELS, "labels": [-1, 1]}, "row 0: label -1 is outside 0..9"),
        ([1, 2], "holds a list, expected a dict"),
    ],
)
def test_wrong_batch_is_named_with_its_reason(tmp_path: Path, batch: object, message: str) -> None:
    location = write_archive(tmp_path / "m.tar.gz", members() | {BATCH: python2_pickle(batch)})
    with pytest.raises(EnvironmentFault) as caught:
        load_vouched(location)
    assert message in str(caught.value)
    assert "data_batch_3" in str(caught.value)
    assert "\n" not in str(caught.value)
