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


def one_file(folder: Path, images: list[bytes], labels: np.ndarray) -> Path:
    """A folder whose training set is one file with these rows."""
    make_parquet_folder(folder)
    (folder / TRAIN_1).unlink()
    (folder / TRAIN_0).unlink()
    path = folder / "train-0.parquet"
    write_parquet(path, images, labels)
    return path


def test_files_are_joined(tmp_path: Path) -> None:
    images = load_folder(make_parquet_folder(tmp_path / "made"))
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


def named(images: Images) -> list[tuple[bytes, str]]:
    """The pixels of every image, with the name of its class."""
    pixels = np.concatenate([images.train_images, images.test_images])
    labels = np.concatenate([images.train_labels, images.test_labels])
    return sorted(
        (image.tobytes(), images.class_names[label])
        for image, label in zip(pixels, labels, strict=True)
    )


def test_class_names_come_from_the_schema(tmp_path: Path) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    for path in folder.iterdir():
        name_classes(path, "abcdefghij")
    assert load_folder(folder).class_names == tuple("abcdefghij")


@pytest.mark.parametrize("file", ["test-00000-of-00001.parquet", TRAIN_0, TRAIN_1])
def test_labels_are_mapped_by_name_where_one_file_numbers_its_classes_otherwise(
    tmp_path: Path, file: str
) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    for path in folder.iterdir():
        name_classes(path, "abcdefghij")
    expected = load_folder(folder)
    table = pq.read_table(folder / file)
    reversed_ = pa.array([9 - label for label in table["label"].to_pylist()])
    pq.write_table(table.set_column(1, "label", reversed_), folder / file)
    name_classes(folder / file, "jihgfedcba")
    assert named(load_folder(folder)) == named(expected)
    name_classes(folder / file, "abcdefghij")
    assert load_folder(folder).fingerprint != expected.fingerprint, "the control"


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("kbcdefghij", "its classes have other names than those of {first}: a, k."),
        ("abcdefghii", "its classes have other names than those of {first}: j."),
        ("abcdefghijk", "its classes have other names than those of {first}: k."),
    ],
)
def test_files_whose_classes_have_other_names_are_refused(
    tmp_path: Path, names: str, text: str
) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    for path in folder.iterdir():
        name_classes(path, "abcdefghij")
    name_classes(folder / TRAIN_1, names)
    text = text.format(first=folder / TRAIN_0)
    assert problem(folder) == f"{folder / TRAIN_1}: {text}"
    name_classes(folder / TRAIN_0, names[:9])
    assert problem(folder).startswith(f"{folder / TRAIN_0}: its schema names 9 classes, expected")


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


def test_jpeg_images_are_read_as_they_decode(tmp_path: Path) -> None:
    files = [io.BytesIO() for _ in IMAGES]
    for image, file in zip(IMAGES, files, strict=True):
        Image.fromarray(image).save(file, format="JPEG", quality=75)
    one_file(tmp_path, [file.getvalue() for file in files], LABELS)
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    found = load_folder(tmp_path)
    np.testing.assert_array_equal(found.train_images, in_order(pixels, LABELS)[0])


def test_a_split_without_images_is_refused(tmp_path: Path) -> None:
    path = make_parquet_folder(tmp_path / "made") / "test-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert problem(tmp_path / "made") == f"{tmp_path / 'made'}: no test images."


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_split_is_named(tmp_path: Path, split: str) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    for path in folder.glob(f"{split}-*"):
        path.unlink()
    assert f"made: {split}-*.parquet is missing" in problem(folder)


def test_wrong_columns_are_listed(tmp_path: Path) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    pq.write_table(pa.table({"image": ["x"], "label": [0.5]}), folder / TRAIN_0)
    text = problem(folder)
    assert f"{TRAIN_0}: expected the columns img {{bytes, path}} and label (integer)" in text
    assert "found image: string, label: double" in text


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    table = pq.read_table(folder / TRAIN_0)
    pq.write_table(table.append_column("label", table["label"]), folder / TRAIN_0)
    assert "label: int64, label: int64." in problem(folder)


def test_metadata_that_is_nested_too_deep_names_no_classes(tmp_path: Path) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    deep = {"huggingface": '{"info":' + "[" * 100_000 + "]" * 100_000 + "}"}
    table = pq.read_table(folder / TRAIN_0).replace_schema_metadata(deep)
    pq.write_table(table, folder / TRAIN_0)
    assert load_folder(folder).class_names == tuple("0123456789")


def test_cifar10_given_as_cifar100_is_refused(tmp_path: Path) -> None:
    assert "fine_label (integer), found img:" in problem(make_parquet_folder(tmp_path), "cifar100")


def test_undecodable_image_names_its_row(tmp_path: Path) -> None:
    gif = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(gif, format="GIF")
    for bad in (b"", b"not an image", GOOD[3][:60], GOOD[3][:-40], gif.getvalue()):
        path = one_file(tmp_path / "made", [*GOOD[:3], bad, *GOOD[4:]], LABELS)
        assert f"{path}: row 3: the image cannot be decoded: " in problem(tmp_path / "made")


def test_missing_image_and_missing_label_are_refused(tmp_path: Path) -> None:
    folder = make_parquet_folder(tmp_path / "made")
    table = pq.read_table(folder / TRAIN_0)
    rows = table.to_pylist()
    pq.write_table(
        pa.Table.from_pylist([{"img": None, "label": 1}, *rows], schema=table.schema),
        folder / TRAIN_0,
    )
    assert f"{TRAIN_0}: row 0: the image cannot be decoded" in problem(folder)
    pq.write_table(
        pa.Table.from_pylist([{**rows[0], "label": None}, *rows], schema=table.schema),
        folder / TRAIN_0,
    )
    assert f"{TRAIN_0}: 1 rows have no label" in problem(folder)


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
    tmp_path: Path, first: np.ndarray, labels: np.ndarray, text: str
) -> None:
    one_file(tmp_path, [png(first), *GOOD[1:]], labels)
    assert text in problem(tmp_path)


def test_damaged_file_is_refused_or_another_data_set(tmp_path: Path) -> None:
    folder = make_parquet_folder(tmp_path / "made")
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
