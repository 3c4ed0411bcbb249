"""The published CIFAR archives, downloaded, checked and read by torchvision.

They are pickles, and torchvision unpickles only those with the official MD5. So archives or folders
with other images are refused: other images must come as Parquet.
"""

from __future__ import annotations

import importlib
import importlib.util
import tarfile
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resbench.data.images import Images, join_parts
from resbench.datasets import Archive, DataSet
from resbench.errors import EnvironmentFault

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # a declaration lasts as long as its library object


def read_archive(known: DataSet, path: Path) -> Images:
    """Load a published archive, or the folder of batches that it unpacks to.

    Raises EnvironmentFault if a file is missing or not the official one.
    """
    archive = known.archive
    assert archive is not None
    try:
        if path.is_dir():
            return _read_batches(known, archive, path.parent, path)
        if not torchvision_datasets().utils.check_integrity(path, archive.md5):
            raise _refused(known.name, path, f"its MD5 is not {archive.md5}")
        with tempfile.TemporaryDirectory() as temporary, tarfile.open(path) as tar:
            tar.extractall(temporary, filter="data")
            return _read_batches(known, archive, Path(temporary), path)
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be read: {error.strerror or error}.") from error


def download(archive: Archive, directory: Path) -> Path:
    """Download an archive into ``directory`` and unpack it, unless it is there undamaged.

    Returns the folder of batches. Raises EnvironmentFault if the network or the folder fails.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        getattr(torchvision_datasets(), archive.torchvision)(directory, download=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong MD5 a RuntimeError
        raise EnvironmentFault(
            f"{archive.filename} could not be fetched into {directory}: "
            f"{str(error).rstrip('.')}. By hand: download {archive.url} (MD5 {archive.md5}) to "
            f"{directory / archive.filename}."
        ) from error
    return directory / archive.folder


@cache
def torchvision_datasets() -> Any:
    """Import ``torchvision.datasets`` (2-3 s).

    PyPI's torchvision is built for CUDA. With a CPU torch its operators fail to load, and its
    import then fails on ``operator torchvision::nms does not exist``, although nothing used here
    needs them. So they are declared first. Raises EnvironmentFault if torchvision is missing.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise EnvironmentFault("torchvision is not installed. Install resbench's dependencies.")
    for library in sorted(Path(spec.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(library)
        except OSError:
            continue
    if not hasattr(torch.ops.torchvision, "nms"):
        stub = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            stub.define(operator + _SIGNATURE)
        _declared.append(stub)
    return importlib.import_module("torchvision.datasets")


def _read_batches(known: DataSet, archive: Archive, root: Path, path: Path) -> Images:
    """Read the batches below ``root``; errors name ``path``, which the user knows."""
    kind = getattr(torchvision_datasets(), archive.torchvision)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, about how it wrote arrays in 2009
            train, test = (kind(root, train=train) for train in (True, False))
    except RuntimeError as error:
        raise _refused(known.name, path, str(error).partition(".")[0].lower()) from error
    parts = [[(split.data, np.array(split.targets, np.int64))] for split in (train, test)]
    return join_parts(str(path), parts[0], parts[1], tuple(train.classes), known.classes)


def _refused(name: str, path: Path, why: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{path}: not the published {name} ({why}), so it is not unpickled. If it is damaged, "
        f"delete it and run `resbench data fetch {name}`; store other images as train-*.parquet "
        f"and test-*.parquet and name their folder with --data {name}=FOLDER."
    )
