"""Folders of Parquet files in the layout of the public uoft-cs/cifar10 and cifar100 sets.

Files ``train-*.parquet`` and ``test-*.parquet`` with the columns ``img`` {bytes, path}, an RGB
image as PNG, WebP or JPEG, and ``label``, an integer; a data set's row may name another column.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from resbench.data.images import Images, Int64Array, UInt8Array
from resbench.datasets import DataSet
from resbench.errors import EnvironmentFault


def read_parquet(known: DataSet, folder: Path, files: dict[str, list[Path]]) -> Images:
    """Decode the ``files`` of both splits (see :func:`resbench.data.sources.parquet_files`).

    Where files name their classes, labels are mapped by name to the order of the first such file.
    Raises EnvironmentFault with the file, and the row where one is at fault.
    """
    pixels: dict[str, list[UInt8Array]] = {"train": [], "test": []}
    labels: dict[str, list[Int64Array]] = {"train": [], "test": []}
    named: dict[Path, tuple[str, ...]] = {}
    for split, paths in files.items():
        for path in paths:
            table = _read_table(path, known.column)
            numbers = _labels(table, known, path)
            if names := _class_names(table.schema, known.column):
                named[path] = names
                numbers = _mapped(numbers, path, named, known.classes)
            pixels[split].append(_decode(table["img"], known.px, path))
            labels[split].append(numbers)
    images = Images(
        np.concatenate(pixels["train"]),
        np.concatenate(labels["train"]),
        np.concatenate(pixels["test"]),
        np.concatenate(labels["test"]),
        num_classes=known.classes,
        class_names=next(iter(named.values()), tuple(str(i) for i in range(known.classes))),
    )
    present = len(np.unique(images.train_labels))
    if present != known.classes:
        raise EnvironmentFault(
            f"{folder}: {present} classes among the training images, expected {known.classes}. "
            "Is this another data set?"
        )
    if not images.test_labels.size:
        raise EnvironmentFault(f"{folder}: no test images.")
    return images


def _mapped(
    labels: Int64Array, path: Path, named: dict[Path, tuple[str, ...]], classes: int
) -> Int64Array:
    """Return the labels of a file, numbered as in the first file with names."""
    (first, order), names = next(iter(named.items())), named[path]
    if len(set(order)) != classes:
        raise EnvironmentFault(
            f"{path}: its schema names {len(set(order))} classes, expected {classes}. "
            "Is this another data set?"
        )
    if others := set(names) ^ set(order):
        raise EnvironmentFault(
            f"{path}: its classes have other names than those of {first}: "
            f"{', '.join(sorted(others))}."
        )
    return np.array([order.index(name) for name in names])[labels]


def _read_table(path: Path, column: str) -> pa.Table:
    """Return both columns of a file, which must be there with the right types."""
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        places = map(schema.get_field_index, ("img", column))  # -1 also where there are two
        img, label = (schema.field(i).type if i >= 0 else None for i in places)
        binary = img is not None and pa.types.is_struct(img) and img.get_field_index("bytes") >= 0
        if not binary or label is None or not pa.types.is_integer(label):
            found = ", ".join(f"{field.name}: {field.type}" for field in schema)
            raise EnvironmentFault(
                f"{path}: expected the columns img {{bytes, path}} and {column} (integer), "
                f"found {found}."
            )
        return file.read(columns=["img", column])
    except (OSError, pa.ArrowException) as error:
        raise EnvironmentFault(
            f"{path}: not a readable Parquet file: {str(error).rstrip('.')}."
        ) from error


def _labels(table: pa.Table, known: DataSet, path: Path) -> Int64Array:
    column = table[known.column]
    if column.null_count:
        raise EnvironmentFault(f"{path}: {column.null_count} rows have no {known.column}.")
    labels = column.to_numpy().astype(np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= known.classes))
    if wrong.size:
        raise EnvironmentFault(
            f"{path}: row {wrong[0]}: label {labels[wrong[0]]} is outside 0..{known.classes - 1}. "
            "Is this another data set?"
        )
    return labels


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """Return the names that the datasets library stores in the schema, or nothing."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        return tuple(str(name) for name in info["info"]["features"][column]["names"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def _decode(column: pa.ChunkedArray, px: int, path: Path) -> UInt8Array:
    """Return uint8 ``[N, px, px, 3]`` of a column of encoded images."""
    images = np.empty((len(column), px, px, 3), np.uint8)
    encoded = column.flatten()[column.type.get_field_index("bytes")]
    for row, data in enumerate(encoded):
        where = f"{path}: row {row}"
        try:
            with Image.open(io.BytesIO(data.as_py()), formats=("PNG", "WEBP", "JPEG")) as image:
                if image.size != (px, px) or image.mode != "RGB":
                    width, height = image.size
                    raise EnvironmentFault(
                        f"{where}: the image is {width}x{height} {image.mode}, "
                        f"expected {px}x{px} RGB."
                    )
                images[row] = np.asarray(image)
        except EnvironmentFault:
            raise
        except Exception as error:  # Pillow's decoders raise many kinds
            reason = re.sub(r" at 0x[0-9a-f]+", "", str(error)) or type(error).__name__
            raise EnvironmentFault(f"{where}: the image cannot be decoded: {reason}.") from error
    return images
