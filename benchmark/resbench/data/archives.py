"""The published CIFAR archives, downloaded, checked and read by torchvision.

They are pickles, and torchvision unpickles none whose MD5 is not the official one. So an archive or
extracted folder of somebody's own is refused here: Parquet is the way in for other images.
"""

from __future__ import annotations

import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from resbench.data.catalog import ARCHIVES, NUM_CLASSES, data_dir, how_to_get, published_archive
from resbench.data.images import Images, join_parts
from resbench.data.torchvision_compat import import_torchvision
from resbench.errors import EnvironmentFault


def read_archive(name: str, path: Path) -> Images:
    """Load a published archive, or the folder of batches that it unpacks to.

    Raises EnvironmentFault where a file is missing or not the official one.
    """
    utils = import_torchvision().datasets.utils
    try:
        if path.is_dir():
            return _read_batches(name, path, path)
        if not utils.check_integrity(path, ARCHIVES[name].md5):
            raise _refused(name, path, f"its MD5 is not {ARCHIVES[name].md5}")
        with tempfile.TemporaryDirectory() as temporary, tarfile.open(path) as tar:
            tar.extractall(temporary, filter="data")
            return _read_batches(name, Path(temporary) / ARCHIVES[name].folder, path)
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be read: {error.strerror or error}.") from error


def fetch(name: str, directory: Path | None = None) -> Path:
    """Download the archive of ``name`` into ``directory`` (default: the data folder) and unpack it.

    What is already there and whole is left alone. Raises UsageError for a data set that is not
    published as an archive, EnvironmentFault where the network or the folder does not serve.
    """
    archive = published_archive(name)
    directory = directory or data_dir()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _torchvision_class(name)(directory, download=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong MD5 a RuntimeError
        raise EnvironmentFault(
            f"{name}: could not be fetched into {directory}: {str(error).rstrip('.')}. "
            f"By hand: {how_to_get(name, directory)}."
        ) from error
    return directory / archive.folder


def _read_batches(name: str, folder: Path, path: Path) -> Images:
    """Read a folder of batches; ``path`` is what the user knows it by."""
    kind = _torchvision_class(name)
    found = type(kind.__name__, (kind,), {"base_folder": folder.name})
    try:
        with _old_pickles():
            train, test = (found(folder.parent, train=train) for train in (True, False))
    except RuntimeError as error:
        raise _refused(name, path, str(error).partition(".")[0].lower()) from error
    parts = [[(split.data, np.array(split.targets, np.int64))] for split in (train, test)]
    return join_parts(str(path), parts[0], parts[1], tuple(train.classes), NUM_CLASSES[name])


def _torchvision_class(name: str) -> Any:
    return getattr(import_torchvision().datasets, name.upper())


@contextmanager
def _old_pickles() -> Iterator[None]:
    """Keep quiet about how numpy wrote arrays in 2009."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _refused(name: str, path: Path, why: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{path}: not the published {name} ({why}), so nothing in it is unpickled. If it is "
        f"damaged, delete it and run `resbench data fetch {name}`; store images of your own as "
        f"train-*.parquet and test-*.parquet and name their folder with --data {name}=FOLDER."
    )
