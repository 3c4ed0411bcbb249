import io
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from resbench.data.images import Images
from resbench.data.sources import identify, load
from resbench.errors import EnvironmentFault
from tests.data.archives import (
    damaged,
    in_order,
    make_images,
    make_parquet_folder,
    png,
    write_parquet,
)

HEAD_FINGERPRINT = "278bb5b3ff2db3ad2537b5f35aead325f6c6cdfd1ac59e0e60c9c92d32ed975c"
IMAGES, LABELS = make_images(10, 1)
GOOD = [png(image) for image in IMAGES]
TRAIN_0, TRAIN_1 = "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"


def load_folder(folder: Path, name: str = "cifar10") -> Images:
    return load(identify(name, {name: folder}))


def problem(folder: Path, name: str = "cifar10") -> str:
    with pytest.raises(EnvironmentFault) as caught:
        load_folder(folder, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound CIFAR-10 with two training files and a test file, which name no classes."""
    return make_parquet_folder(tmp_path / "made")


@pytest.fixture
def named(folder: Path) -> Path:
    """That folder, with the same names of the classes in all of its files."""
    for path in folder.iterdir():
        name_classes(path, "abcdefghij")
    return folder


def one_file(folder: Path, images: list[bytes], labels: np.ndarray) -> Path:
    """Make one file with these rows the whole training set."""
    for path in folder.glob("train-*"):
        path.unlink()
    write_parquet(folder / "train-0.parquet", images, labels)
    return folder / "train-0.parquet"


def test_files_are_joined(folder: Path) -> None:
    images = load_folder(folder)
    expected, labels = in_order(*make_images(10, 4))
    np.testing.assert_array_equal(images.train_images, expected)
    np.testing.assert_array_equal(images.train_labels, labels)
    assert images.test_images.shape == (10, 32, 32, 3)
    assert images.class_names == tuple("0123456789")


def name_classes(path: Path, names: Sequence[str], column: str = "label") -> None:
    """Store names in a file's schema as the datasets library does, others of another column."""
    features = {column: {"names": list(names)}, "other": {"names": ["x", *names[1:]]}}
    info = {"info": {"features": features}}
    table = pq.read_table(path).replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, path)


def with_names(images: Images) -> list[tuple[bytes, str]]:
    """The pixels of every image, with the name of its class."""
    pixels = np.concatenate([images.train_images, images.test_images])
    labels = np.concatenate([images.train_labels, images.test_labels])
    return sorted(
        (image.tobytes(), images.class_names[label])
        for image, label in zip(pixels, labels, strict=True)
    )


def test_class_names_come_from_the_schema(named: Path) -> None:
    assert load_folder(named).class_names == tuple("abcdefghij")


@pytest.mark.parametrize("file", ["test-00000-of-00001.parquet", TRAIN_0, TRAIN_1])
def test_labels_are_mapped_by_name_where_one_file_numbers_its_classes_otherwise(
    named: Path, file: str
) -> None:
    expected = load_folder(named)
    table = pq.read_table(named / file)
    reversed_ = pa.array([9 - label for label in table["label"].to_pylist()])
    pq.write_table(table.set_column(1, "label", reversed_), named / file)
    name_classes(named / file, "jihgfedcba")
    assert with_names(load_folder(named)) == with_names(expected)
    name_classes(named / file, "abcdefghij")
    assert load_folder(named).fingerprint != expected.fingerprint, "the control"


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("kbcdefghij", "its classes have other names than those of {first}: a, k."),
        ("abcdefghii", "its classes have other names than those of {first}: j."),
        ("abcdefghijk", "its classes have other names than those of {first}: k."),
    ],
)
def test_files_whose_classes_have_other_names_are_refused(
    named: Path, names: str, text: str
) -> None:
    name_classes(named / TRAIN_1, names)
    assert problem(named) == f"{named / TRAIN_1}: {text.format(first=named / TRAIN_0)}"
    name_classes(named / TRAIN_0, names[:9])
    assert problem(named).startswith(f"{named / TRAIN_0}: its schema names 9 classes, expected")


def test_cifar100_reads_fine_label(tmp_path: Path) -> None:
    names = tuple(f"fine {i}" for i in range(100))
    for split, per_class in (("train", 2), ("test", 1)):
        images, labels = make_images(100, per_class)
        encoded = [png(image) for image in images]
        write_parquet(tmp_path / f"{split}-0.parquet", encoded, labels, "fine_label")
        name_classes(tmp_path / f"{split}-0.parquet", names, "fine_label")
    found = load_folder(tmp_path, "cifar100")
    np.testing.assert_array_equal(found.test_labels, in_order(images, labels)[1])
    assert found.class_names == names


def test_jpeg_images_are_read_as_they_decode(folder: Path) -> None:
    files = [io.BytesIO() for _ in IMAGES]
    for image, file in zip(IMAGES, files, strict=True):
        Image.fromarray(image).save(file, format="JPEG", quality=75)
    one_file(folder, [file.getvalue() for file in files], LABELS)
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    found = load_folder(folder)
    np.testing.assert_array_equal(found.train_images, in_order(pixels, LABELS)[0])


def test_a_split_without_images_is_refused(folder: Path) -> None:
    path = folder / "test-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert problem(folder) == f"{folder}: no test images."


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_split_is_named(folder: Path, split: str) -> None:
    for path in folder.glob(f"{split}-*"):
        path.unlink()
    assert f"made: {split}-*.parquet is missing" in problem(folder)


def test_wrong_columns_are_listed(folder: Path) -> None:
    pq.write_table(pa.table({"image": ["x"], "label": [0.5]}), folder / TRAIN_0)
    text = problem(folder)
    assert f"{TRAIN_0}: expected the columns img {{bytes, path}} and label (integer)" in text
    assert "found image: string, label: double" in text


def test_a_column_that_is_there_twice_is_refused(folder: Path) -> None:
    table = pq.read_table(folder / TRAIN_0)
    pq.write_table(table.append_column("label", table["label"]), folder / TRAIN_0)
    assert "label: int64, label: int64." in problem(folder)


def test_metadata_that_is_nested_too_deep_names_no_classes(folder: Path) -> None:
    deep = {"huggingface": '{"info":' + "[" * 100_000 + "]" * 100_000 + "}"}
    table = pq.read_table(folder / TRAIN_0).replace_schema_metadata(deep)
    pq.write_table(table, folder / TRAIN_0)
    assert load_folder(folder).class_names == tuple("0123456789")


def test_cifar10_given_as_cifar100_is_refused(folder: Path) -> None:
    assert "fine_label (integer), found img:" in problem(folder, "cifar100")


def test_undecodable_image_names_its_row(folder: Path) -> None:
    gif = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(gif, format="GIF")
    for bad in (b"", b"not an image", GOOD[3][:60], GOOD[3][:-40], gif.getvalue()):
        path = one_file(folder, [*GOOD[:3], bad, *GOOD[4:]], LABELS)
        assert f"{path}: row 3: the image cannot be decoded: " in problem(folder)


def test_missing_image_and_missing_label_are_refused(folder: Path) -> None:
    table = pq.read_table(folder / TRAIN_0)
    whole = table.to_pylist()
    for row, said in (
        ({"img": None, "label": 1}, "row 0: the image cannot be decoded"),
        ({**whole[0], "label": None}, "1 rows have no label"),
    ):
        rows = pa.Table.from_pylist([row, *whole], schema=table.schema)
        pq.write_table(rows, folder / TRAIN_0)
        assert f"{TRAIN_0}: {said}" in problem(folder)


@pytest.mark.parametrize(
    ("first", "labels", "text"),
    [
        (np.zeros((32, 31, 3), np.uint8), LABELS, "row 0: the image is 31x32 RGB, expected 32x32"),
        (np.zeros((32, 32), np.uint8), LABELS, "row 0: the image is 32x32 L, expected 32x32 RGB"),
        (np.zeros((32, 32, 4), np.uint8), LABELS, "row 0: the image is 32x32 RGBA, expected 32x32"),
        (IMAGES[0], np.where(np.arange(10) == 6, 10, LABELS), "row 6: label 10 is outside 0..9"),
        (IMAGES[0], np.where(np.arange(10) == 6, -1, LABELS), "row 6: label -1 is outside 0..9"),
        (IMAGES[0], np.minimum(LABELS, 8), "9 classes among the training images"),
    ],
)
def test_rows_of_another_size_mode_or_class_are_refused(
    folder: Path, first: np.ndarray, labels: np.ndarray, text: str
) -> None:
    one_file(folder, [png(first), *GOOD[1:]], labels)
    assert text in problem(folder)


def test_damaged_file_is_refused_or_another_data_set(folder: Path) -> None:
    original = load_folder(folder)
    whole, randoms = (folder / TRAIN_0).read_bytes(), random.Random(0)
    messages = []
    for _ in range(60):
        (folder / TRAIN_0).write_bytes(damaged(whole, randoms))
        try:
            images = load_folder(folder)
        except EnvironmentFault as error:
            messages.append(str(error))
            continue
        same = np.array_equal(images.train_images, original.train_images) and np.array_equal(
            images.train_labels, original.train_labels
        )
        assert (images.fingerprint == original.fingerprint) == same
    assert len(messages) > 20
    assert all(message.startswith(str(folder / TRAIN_0)) for message in messages)


@pytest.mark.shared_data
def test_real_png_images_have_their_known_fingerprint(shared_data: Path) -> None:
    source = identify("cifar10", {"cifar10": shared_data / "cifar10-head"})
    images = load(source)
    assert source.label == "cifar10-head-278b"
    assert not source.published
    assert (len(images.train_images), len(images.test_images)) == (5085, 1017)
    assert source.id == f"sha256:{images.fingerprint}"
    assert images.fingerprint == HEAD_FINGERPRINT
