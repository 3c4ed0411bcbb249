"""Made archives and Parquet folders in the formats of the published data sets.

:func:`make_cifar_archive` returns a location that vouches for the archive, so that it can be used
wherever a location is: ``identify("cifar100", {"cifar100": location})`` or, on the command line,
``--data cifar100=LOCATION``. The images of a class share a pattern, so a network can learn them.
"""

import hashlib
import io
import struct
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from resbench.data.catalog import ARCHIVES, NUM_CLASSES

Array = npt.NDArray[Any]


def make_images(num_classes: int, per_class: int, seed: int = 0) -> tuple[Array, Array]:
    """Return uint8 images ``[N, 32, 32, 3]`` and int64 labels in mixed order."""
    patterns = np.random.default_rng(1234).integers(0, 256, (num_classes, 4, 4, 3))
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(num_classes), per_class))
    large = patterns[labels].repeat(8, axis=1).repeat(8, axis=2)
    images = np.clip(large + random.integers(-60, 61, large.shape), 0, 255).astype(np.uint8)
    return images, labels


def make_cifar_archive(
    path: Path, name: str, *, train_per_class: int = 5, test_per_class: int = 1, seed: int = 0
) -> Path:
    """Write an archive of ``cifar10`` or ``cifar100`` and return its location, vouched for."""
    classes = NUM_CLASSES[name]
    train = make_images(classes, train_per_class, seed)
    test = make_images(classes, test_per_class, seed + 1)
    return write_archive(path, cifar_members(name, train, test))


def cifar_members(
    name: str, train: tuple[Array, Array], test: tuple[Array, Array]
) -> dict[str, bytes]:
    """Return the pickled members of an archive, by their path in it."""
    archive = ARCHIVES[name]
    members = {}
    for files, (images, labels) in ((archive.train, train), (archive.test, test)):
        for file, part in zip(
            files, np.array_split(np.arange(len(labels)), len(files)), strict=True
        ):
            part_images, part_labels = images[part], labels[part]
            batch = {
                "batch_label": f"made {file}",
                archive.labels_key: part_labels.tolist(),
                "data": part_images.transpose(0, 3, 1, 2).reshape(len(part_images), -1),
                "filenames": [f"made_{i:06d}.png" for i in range(len(part_images))],
            }
            members[f"{archive.folder}/{file}"] = python2_pickle(batch)
    names = {archive.names_key: [f"class-{i}" for i in range(NUM_CLASSES[name])]}
    return members | {f"{archive.folder}/{archive.meta}": python2_pickle(names)}


def write_archive(
    path: Path, members: Mapping[str, bytes], extra: Iterable[tarfile.TarInfo] = ()
) -> Path:
    """Write a .tar.gz and return ``PATH#md5=HEX``; ``extra`` entries are empty or links."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info)
    return Path(f"{path}#md5={hashlib.md5(path.read_bytes()).hexdigest()}")


def python2_pickle(value: object) -> bytes:
    """Pickle as Python 2's cPickle did with protocol 2, the form of the published archives."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: object) -> bytes:
    if isinstance(value, str):
        raw = value.encode("latin-1")
        return b"U" + bytes([len(raw)]) + raw
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_opcodes, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_opcodes(x) for item in value.items() for x in item) + b"u"
    if isinstance(value, np.ndarray):
        return _array_opcodes(value)
    raise TypeError(type(value))


def _array_opcodes(array: Array) -> bytes:
    """``_reconstruct(ndarray, (0,), 'b')``, then the state (1, shape, dtype, False, bytes)."""
    code = array.dtype.str[1:]
    shape = b"".join(map(_opcodes, array.shape)) + b"\x86"
    dtype = b"cnumpy\ndtype\n" + _opcodes(code) + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + _opcodes("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    raw = array.tobytes()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    )  # fmt: skip


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
