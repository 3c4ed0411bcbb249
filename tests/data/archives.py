"""Made data sets in the formats of the published ones.

The images of a class share a pattern, so a network can learn them.
"""

import dataclasses
import hashlib
import io
import pickle
import random
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from resbench.data.archives import read_archive, torchvision_datasets
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


def write_batches(folder: Path, name: str, train: Split, test: Split) -> None:
    """Write the folder that an archive of ``name`` unpacks to."""
    kind, column = torchvision_class(name), f"{DATA_SETS[name].column}s"
    folder.mkdir(parents=True)
    for batches, (images, labels) in ((kind.train_list, train), (kind.test_list, test)):
        for (file, _), rows in zip(
            batches, np.array_split(np.arange(len(labels)), len(batches)), strict=True
        ):
            pixels = images[rows].transpose(0, 3, 1, 2).reshape(len(rows), -1)
            batch = {"data": pixels, column: labels[rows].tolist()}
            (folder / file).write_bytes(pickle.dumps(batch, protocol=2))
    class_names = {kind.meta["key"]: [f"class-{i}" for i in range(DATA_SETS[name].classes)]}
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps(class_names, protocol=2))


def pack(folder: Path, path: Path) -> None:
    """Write the archive that unpacks to ``folder``."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        tar.add(folder, folder.name)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def take_for_published(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path) -> Path:
    """Let this folder and its archive, which is written next to it, be the official ones."""
    kind = torchvision_class(name)
    packed = folder.parent / archive_of(name).filename
    pack(folder, packed)
    for batches in ("train_list", "test_list"):
        listed = [[file, md5(folder / file)] for file, _ in getattr(kind, batches)]
        monkeypatch.setattr(kind, batches, listed)
    meta = {**kind.meta, "md5": md5(folder / kind.meta["filename"])}
    monkeypatch.setattr(kind, "meta", meta)
    monkeypatch.setattr(kind, "tgz_md5", md5(packed))
    archive = dataclasses.replace(archive_of(name), md5=md5(packed))
    row = dataclasses.replace(DATA_SETS[name], archive=archive)
    row = dataclasses.replace(row, fingerprint=read_archive(row, folder).fingerprint)
    monkeypatch.setitem(DATA_SETS, name, row)
    return packed


def damaged(whole: bytes, randoms: random.Random) -> bytes:
    """Return a file with one bit flipped, or with its end cut off."""
    at = randoms.randrange(len(whole))
    flipped = whole[at] ^ 1 << randoms.randrange(8)
    return whole[:at] + (bytes([flipped]) + whole[at + 1 :] if randoms.random() < 0.7 else b"")


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
    for i, rows in enumerate(np.array_split(np.arange(len(images)), 2)):
        path = folder / f"train-0000{i}-of-00002.parquet"
        write_parquet(path, [png(image) for image in images[rows]], labels[rows])
    images, labels = make_images(10, 1, seed + 1)
    write_parquet(folder / "test-00000-of-00001.parquet", [png(x) for x in images], labels)
    return folder
