"""The data sets that a suite may name, and the archives they are published in.

Nothing heavy is imported here: ``resbench plan`` reads these facts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from resbench.errors import UsageError, did_you_mean
from resbench.suite.document import DocumentError, Problem
from resbench.suite.expand import Cell
from resbench.suite.spec import Data, RunSpec


@dataclass(frozen=True)
class Archive:
    """A published archive of pickled batches (https://www.cs.toronto.edu/~kriz/cifar.html)."""

    filename: str
    md5: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    labels_key: str
    names_key: str

    @property
    def url(self) -> str:
        """Where the archive is published."""
        return f"https://www.cs.toronto.edu/~kriz/{self.filename}"


ARCHIVES = {
    "cifar10": Archive(
        filename="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test=("test_batch",),
        meta="batches.meta",
        labels_key="labels",
        names_key="label_names",
    ),
    "cifar100": Archive(
        filename="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        train=("train",),
        test=("test",),
        meta="meta",
        labels_key="fine_labels",
        names_key="fine_label_names",
    ),
}
PARQUET_LABELS = {"cifar10": "label", "cifar100": "fine_label"}
SIZES = {"cifar10": (50_000, 10_000), "cifar100": (50_000, 10_000), "digits": (1438, 359)}
"""Training and test images, for planning before they are loaded."""
BALANCED = {"cifar10": SIZES["cifar10"], "cifar100": SIZES["cifar100"], "digits": (1270, 210)}
"""The largest stratified subsets of them: as often the rarest class as there are classes."""
NUM_CLASSES = {"cifar10": 10, "cifar100": 100, "digits": 10}
SIDE_PX = 32
"""Height and width of a CIFAR image."""
NATIVE_PX = {"cifar10": SIDE_PX, "cifar100": SIDE_PX, "digits": 16}
"""Height and width of a data set's images where a suite names no other."""
FINGERPRINTS = {
    "cifar10": "1b7fb4ab446e9df580d2880fb7ade29991213e16a8a2f6b51d47c4126a6a4da8",
    "cifar100": "0676295e4cdd42e2c1271e339456ad0db6615d588482c2616164a4dd42507fd5",
    "digits": "790ccb25176879c0e9c61d3046d8466df4ea644697156520a5ce2a185cfb7710",
}
"""What :attr:`resbench.data.images.Images.fingerprint` is of the published images."""


def train_images(data: Data) -> int:
    """Return how many training images a run has, from its specification alone."""
    whole = SIZES[data.name][0]
    first = min(whole, data.first or whole)
    return min(first, data.train_images or first)


def test_images(data: Data) -> int:
    """Return how many test images a run has, from its specification alone."""
    return data.test_images or SIZES[data.name][1]


def check_fit(cells: Iterable[Cell]) -> None:
    """Refuse, before anything is trained, cells that ask their data set for what it has not.

    Raises:
        DocumentError: at each setting that asks for it.
    """
    problems = []
    for cell in cells:
        for path, text in () if cell.spec is None else _misfits(cell.spec):
            leaf = cell.leaves[path]
            problems.append(Problem(leaf.position, f"{'.'.join(path)} ({leaf.layer}): {text}"))
    if problems:
        raise DocumentError(problems)


def _misfits(spec: RunSpec) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the settings that do not fit the data set, and why."""
    data, training, side = spec.data, spec.training, NATIVE_PX[spec.data.name]
    train, test = BALANCED[data.name]
    if data.image_px is not None and side % data.image_px:
        yield ("data", "image_px"), f"{data.image_px} px do not divide the {side} px of {data.name}"
    for name, asked, most in (
        ("train_images", data.train_images, min(train, data.first or train)),
        ("test_images", data.test_images, test),
    ):
        if asked is not None and asked > most:
            text = f"{data.name} has no {asked:,} images for it; at most {most:,} can be drawn"
            yield ("data", name), text
    images = train_images(data)
    if training.batch_size > images:
        text = f"a batch of {training.batch_size:,} of {images:,} training images"
        yield ("training", "batch_size"), text
    if training.val_in_train > images:
        text = f"{training.val_in_train:,} of {images:,} training images"
        yield ("training", "val_in_train"), text


def cache_dir() -> Path:
    """Return the cache folder (``RESBENCH_CACHE_DIR`` overrides)."""
    if named := os.environ.get("RESBENCH_CACHE_DIR"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("resbench"))


def data_dir() -> Path:
    """Return the folder of downloaded archives (``RESBENCH_DATA_DIR`` overrides)."""
    if named := os.environ.get("RESBENCH_DATA_DIR"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("resbench"))


def published_id(name: str) -> str:
    """Return the content identity of the published data set of this name."""
    return f"sha256:{FINGERPRINTS[name]}"


def published_archive(name: str) -> Archive:
    """Return the archive of a data set that is published as one; else raise UsageError."""
    if name == "digits":
        raise UsageError("digits: comes with scikit-learn and has no other location.")
    if name not in ARCHIVES:
        raise UsageError(f"unknown data set '{name}'.{did_you_mean(name, ARCHIVES)}")
    return ARCHIVES[name]


def how_to_get(name: str, directory: Path) -> str:
    """Say in one sentence how to get the archive of ``name`` without ``resbench data fetch``."""
    archive = ARCHIVES[name]
    return f"download {archive.url} (MD5 {archive.md5}) to {directory / archive.filename}"
