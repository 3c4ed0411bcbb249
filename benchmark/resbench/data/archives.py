"""The published CIFAR archives, downloaded, checked and read by torchvision.

They are pickles, and torchvision unpickles only those with the official MD5. So archives or folders
with other images are refused: other images must come as Parquet.
"""

from __future__ import annotations

import importlib
import tarfile
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resbench.data.images import Images
from resbench.datasets import Archive, DataSet
from resbench.errors import EnvironmentFault

_declared: list[torch.library.Library] = []  # a declaration lasts as long as its library object


def read_archive(known: DataSet, path: Path) -> Images:
    """Load a published archive, or the folder of batches that it unpacks to.

    Raises EnvironmentFault if a file is missing or not the official one.
    """
    archive = known.archive
    assert archive is not None
    datasets = torchvision_datasets()
    kind = getattr(datasets, archive.torchvision)
    try:
        if path.is_dir():
            return _read_batches(kind, path.parent)
        if not datasets.utils.check_integrity(path, archive.md5):
            raise RuntimeError(f"its MD5 is not {archive.md5}")
        with tempfile.TemporaryDirectory() as temporary, tarfile.open(path) as tar:
            tar.extractall(temporary, filter="data")
            return _read_batches(kind, Path(temporary))
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be read: {error.strerror or error}.") from error
    except RuntimeError as error:  # torchvision's, of a file that is missing or has another MD5
        name, why = known.name, str(error).partition(".")[0]
        raise EnvironmentFault(
            f"{path}: not the published {name} ({why}), so it is not unpickled. If it is damaged, "
            f"delete it and run `resbench data fetch {name}`; store other images as "
            f"train-*.parquet and test-*.parquet and name their folder with --data {name}=FOLDER."
        ) from error


def _read_batches(kind: Any, root: Path) -> Images:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about how it wrote arrays in 2009
        train, test = (kind(root, train=train) for train in (True, False))
    labels = [np.array(split.targets, np.int64) for split in (train, test)]
    names = tuple(train.classes)
    return Images(train.data, labels[0], test.data, labels[1], len(names), names)


def download(archive: Archive, directory: Path) -> Path:
    """Download an archive into ``directory`` and unpack it, unless it is there undamaged.

    Returns the folder of batches. Raises EnvironmentFault if the network or the folder fails.
    """
    kind = getattr(torchvision_datasets(), archive.torchvision)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        kind(directory, download=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong MD5 a RuntimeError
        why = str(error).rstrip(".")
        if "CERTIFICATE_VERIFY_FAILED" in why:
            why += " (Python of python.org on a Mac: first run its 'Install Certificates.command')"
        raise EnvironmentFault(
            f"{archive.filename} could not be fetched into {directory}: {why}. "
            f"By hand: download {archive.url} (MD5 {archive.md5}) to "
            f"{directory / archive.filename}."
        ) from error
    return directory / archive.folder


@cache
def torchvision_datasets() -> Any:
    """Import ``torchvision.datasets`` (2-3 s). Raises EnvironmentFault if it is missing.

    PyPI's torchvision is built for CUDA. With a CPU torch its operators are not there, and its
    import fails on the first one, although nothing used here needs them: so they are declared.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except ModuleNotFoundError as error:
        text = "torchvision is not installed. Install resbench's dependencies."
        raise EnvironmentFault(text) from error
    except RuntimeError:  # operator torchvision::nms does not exist
        stub = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            stub.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(stub)
        return importlib.import_module("torchvision.datasets")
