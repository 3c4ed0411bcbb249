"""Made data sets in the formats of the published ones.

The images of a class share a pattern, so a network can learn them.
"""

import dataclasses
import hashlib
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from resbench.data.archives import torchvision_datasets
from resbench.data.images import Images
from resbench.datasets import DATA_SETS, Archive

Array = npt.NDArray[Any]
Split = tuple[Array, Array]


def make_images(num_classes: int, per_class: int, seed: int = 0) -> Split:
    """Return uint8 images ``[N, 32, 32, 3]`` and int64 labels in mixed order."""
    patterns = np.random.default_rng(1234).integers(0, 256, (num_classes, 4, 4, 3))
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(num_classes), per_class))
    large = patterns[labels].repeat(8, axis=1).repeat(8, axis=2)
    images = np.clip(large + random.integers(-60, 61, large.shape), 0, 255).astype(np.uint8)
    return images, labels


def in_order(images: Array, labels: Array) -> Split:
    """Return rows in canonical order, as the README of the images describes it."""
    digests = [
        hashlib.sha256(bytes([label]) + image.tobytes()).digest()
        for image, label in zip(images, labels, strict=True)
    ]
    order = sorted(range(len(digests)), key=lambda row: digests[row])
    return images[order], labels[order]


def archive_of(name: str) -> Archive:
    """The published archive of a data set that has one."""
    archive = DATA_SETS[name].archive
    assert archive is not None
    return archive


def torchvision_class(name: str) -> Any:
    """What reads that archive."""
    return getattr(torchvision_datasets(), archive_of(name).torchvision)


def batch_names(name: str) -> tuple[list[str], list[str]]:
    """The files of training and of test images in that archive."""
    kind = torchvision_class(name)
    return [file for file, _ in kind.train_list], [file for file, _ in kind.test_list]


def write_batches(folder: Path, name: str, train: Split, test: Split) -> dict[str, bytes]:
    """Write the folder that an archive of ``name`` unpacks to; return its files."""
    kind = torchvision_class(name)
    files = {}
    for names, (images, labels) in zip(batch_names(name), (train, test), strict=True):
        for file, rows in zip(
            names, np.array_split(np.arange(len(labels)), len(names)), strict=True
        ):
            part = images[rows].transpose(0, 3, 1, 2).reshape(len(rows), -1)
            batch = {"data": part, f"{DATA_SETS[name].column}s": labels[rows].tolist()}
            files[file] = pickle.dumps(batch, protocol=2)
    class_names = {kind.meta["key"]: [f"class-{i}" for i in range(DATA_SETS[name].classes)]}
    files[kind.meta["filename"]] = pickle.dumps(class_names, protocol=2)
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return files


def write_archive(path: Path, name: str, files: dict[str, bytes]) -> str:
    """Write an archive of these files; return its MD5."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for file, content in files.items():
            info = tarfile.TarInfo(f"{archive_of(name).folder}/{file}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


def take_for_published(
    monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes], md5: str = "0" * 32
) -> None:
    """Let these files be the official ones of ``name``, for torchvision and for resbench."""
    kind, (train, test) = torchvision_class(name), batch_names(name)
    md5s = {file: hashlib.md5(content).hexdigest() for file, content in files.items()}
    monkeypatch.setattr(kind, "train_list", [[file, md5s[file]] for file in train])
    monkeypatch.setattr(kind, "test_list", [[file, md5s[file]] for file in test])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5s[kind.meta["filename"]]})
    monkeypatch.setattr(kind, "tgz_md5", md5)
    splits = [
        [pickle.loads(files[file], encoding="latin1") for file in names] for names in (train, test)
    ]
    arrays: dict[str, Array] = {}
    for split, batches in zip(("train", "test"), splits, strict=True):
        pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        labels = [label for batch in batches for label in batch[f"{DATA_SETS[name].column}s"]]
        arrays[f"{split}_images"] = pixels.transpose(0, 2, 3, 1)
        arrays[f"{split}_labels"] = np.array(labels)
    made = Images(**arrays, num_classes=DATA_SETS[name].classes, class_names=())
    archive = dataclasses.replace(archive_of(name), md5=md5)
    row = dataclasses.replace(DATA_SETS[name], archive=archive, fingerprint=made.fingerprint)
    monkeypatch.setitem(DATA_SETS, name, row)


def png(image: Array) -> bytes:
    """Return an image as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def write_parquet(path: Path, images: list[bytes], labels: Array, column: str = "label") -> None:
    """Write one file in the layout of the public Parquet sets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(images)]
    pq.write_table(pa.table({"img": rows, column: labels}), path)


def make_parquet_folder(folder: Path, *, train_per_class: int = 4, seed: int = 0) -> Path:
    """Write a made CIFAR-10 as Parquet: two training files and a test file of PNGs."""
    images, labels = make_images(10, train_per_class, seed)
    half = len(images) // 2
    for i, part in enumerate((slice(0, half), slice(half, None))):
        path = folder / f"train-0000{i}-of-00002.parquet"
        write_parquet(path, [png(image) for image in images[part]], labels[part])
    images, labels = make_images(10, 1, seed + 1)
    write_parquet(folder / "test-00000-of-00001.parquet", [png(x) for x in images], labels)
    return folder
