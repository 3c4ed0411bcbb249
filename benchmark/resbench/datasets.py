"""The data sets that suites may name, a row each: to add one, add a row.

Imports nothing, because specifications, plans and reports read these facts; only
:mod:`resbench.data` opens files.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """A published archive of pickled batches (https://www.cs.toronto.edu/~kriz/cifar.html)."""

    torchvision: str
    """The class of torchvision.datasets that downloads, checks and reads it."""
    filename: str
    md5: str
    folder: str
    """What it unpacks to."""

    @property
    def url(self) -> str:
        """Where the archive is published."""
        return f"https://www.cs.toronto.edu/~kriz/{self.filename}"


@dataclass(frozen=True)
class DataSet:
    """Facts of one data set. A user may also have other images of its kind, as Parquet."""

    name: str
    classes: int
    """At most 256."""
    train_images: int
    test_images: int
    balanced: tuple[int, int]
    """Sizes of the largest stratified subsets: the rarest class times the number of classes."""
    px: int
    """Height and width of its RGB images."""
    fingerprint: str
    """:attr:`resbench.data.images.Images.fingerprint` of the published images."""
    column: str = "label"
    """The column of labels in Parquet files."""
    archive: Archive | None = None
    """Set for data sets that published numbers are about."""
    class_names: tuple[str, ...] = ()
    """Of the published images, by label, for containers that leave them out."""
    reader: str | None = None
    """``module:function`` that returns the images, where they come with a package."""

    @property
    def id(self) -> str:
        """Content identity of the published images."""
        return f"sha256:{self.fingerprint}"

    def train_subset(self, first: int | None, images: int | None) -> int:
        """Return how many training images are left of the ``first`` ones, ``images`` at most."""
        return min(size for size in (self.train_images, first, images) if size)


_CIFAR10 = Archive("CIFAR10", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a",
                   folder="cifar-10-batches-py")  # fmt: skip
_CIFAR100 = Archive("CIFAR100", "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85",
                    folder="cifar-100-python")  # fmt: skip
_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
          "truck")  # fmt: skip
_ROWS = (
    DataSet(
        name="cifar10",
        classes=10,
        train_images=50_000,
        test_images=10_000,
        balanced=(50_000, 10_000),
        px=32,
        fingerprint="1b7fb4ab446e9df580d2880fb7ade29991213e16a8a2f6b51d47c4126a6a4da8",
        archive=_CIFAR10,
        class_names=_NAMES,
    ),
    DataSet(
        name="cifar100",
        classes=100,
        train_images=50_000,
        test_images=10_000,
        balanced=(50_000, 10_000),
        px=32,
        fingerprint="0676295e4cdd42e2c1271e339456ad0db6615d588482c2616164a4dd42507fd5",
        column="fine_label",
        archive=_CIFAR100,
    ),
    DataSet(
        name="digits",
        classes=10,
        train_images=1438,
        test_images=359,
        balanced=(1270, 210),
        px=16,
        fingerprint="790ccb25176879c0e9c61d3046d8466df4ea644697156520a5ce2a185cfb7710",
        reader="resbench.data.digits:read_digits",
    ),
)
DATA_SETS = {row.name: row for row in _ROWS}
