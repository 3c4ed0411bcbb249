"""Which data set a name means on this machine, and loading it.

Telling data sets apart (:func:`identify`) imports neither numpy nor a decoder, so that a plan is
made in milliseconds and before the data is there; :func:`load` checks the bytes and decodes them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from resbench.data.catalog import (
    ARCHIVES,
    DIGITS_FINGERPRINT,
    NUM_CLASSES,
    cache_dir,
    data_dir,
    how_to_get,
)
from resbench.errors import EnvironmentFault, UsageError, did_you_mean

if TYPE_CHECKING:
    from resbench.data.images import Images


@dataclass(frozen=True)
class Source:
    """A data set and how to recognise it."""

    name: str
    """The name a suite uses: cifar10, cifar100 or digits."""
    label: str
    """What tables print: the name, or that of the user's folder or archive (``[a-z0-9_-]``)."""
    id: str
    """``md5:`` of the published archive, else ``sha256:`` and the fingerprint."""
    fingerprint: str | None
    """:attr:`Images.fingerprint`; None for a published archive, whose id needs no pixels."""
    printed: bool
    """The data set that printed numbers are about: only the published, MD5-verified archive."""
    kind: Literal["archive", "parquet", "digits"]
    path: Path | None
    """The archive or folder; None where there is none (yet)."""
    num_classes: int
    md5: str | None = None
    """What the archive must hash to before it is opened."""


def identify(name: str, locations: Mapping[str, Path]) -> Source:
    """Return the source of ``name``; nothing is loaded that a cache can tell.

    Without a location the published archive in :func:`~resbench.data.catalog.data_dir` is meant,
    present or not. A location is a folder with that archive, a folder of Parquet files, or an
    archive. An archive other than the published one has to be vouched for, ``PATH#md5=HEX``: it is
    then read as carefully, but it is a data set of its own, known by its pixels and file name.

    Raises UsageError for an unknown name, EnvironmentFault where a location is not there.
    """
    if name not in NUM_CLASSES:
        raise UsageError(f"unknown data set '{name}'.{did_you_mean(name, NUM_CLASSES)}")
    if name == "digits":
        return Source(
            name=name,
            label=name,
            id=f"sha256:{DIGITS_FINGERPRINT}",
            fingerprint=DIGITS_FINGERPRINT,
            printed=False,
            kind="digits",
            path=None,
            num_classes=NUM_CLASSES[name],
        )
    if name not in locations:
        expected = data_dir() / ARCHIVES[name].filename
        return _published(name, expected if expected.is_file() else None)
    try:
        return _located(name, locations[name])
    except OSError as error:
        place = error.filename or locations[name]
        raise EnvironmentFault(f"{place}: cannot be read: {error.strerror}.") from error


def load(source: Source) -> Images:
    """Load the images of a source, from the cache where it has them.

    Raises EnvironmentFault where data is missing, damaged, or no longer what was identified.
    """
    from resbench.data import cache

    if source.kind == "parquet" and source.fingerprint is not None:
        cached = cache.read_images(source.fingerprint, source.num_classes)
        if cached is not None:
            return cached
    images = _decode(source)
    if source.fingerprint not in (None, images.fingerprint):
        raise EnvironmentFault(
            f"{source.path or source.label}: the fingerprint is {images.fingerprint}, expected "
            f"{source.fingerprint}: not the data that was identified. Restore it; if it never "
            f"changed, delete {cache_dir()}."
        )
    if source.kind == "parquet":
        cache.write_images(images)
    return images


def parquet_files(name: str, folder: Path) -> dict[str, list[Path]]:
    """Return the sorted ``train-*`` and ``test-*`` files of a folder, no part missing."""
    files = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in ("train", "test")}
    for split, paths in files.items():
        if not paths:
            raise EnvironmentFault(
                f"{folder}: neither {ARCHIVES[name].filename} nor both train-*.parquet and "
                f"test-*.parquet are in this folder ({split} is missing)."
            )
        parts = {match[1] for path in paths if (match := re.search(r"-of-(\d+)\.", path.name))}
        if parts and {int(part) for part in parts} != {len(paths)}:
            raise EnvironmentFault(
                f"{folder}: {len(paths)} {split} files whose names say {' or '.join(sorted(parts))}"
                " parts. Fetch the missing ones or remove the others."
            )
    return files


def _located(name: str, location: Path) -> Source:
    archive = ARCHIVES[name]
    path, md5 = _split_md5(location)
    if path.is_dir():
        if md5 is not None:
            raise UsageError(f"{name}={location}: #md5= vouches for an archive, not for a folder.")
        if (path / archive.filename).is_file():
            return _published(name, path / archive.filename)
        return _own(name, "parquet", path, None)
    if not path.is_file():
        raise EnvironmentFault(f"{path}: no such file or folder (the location of {name}).")
    if md5 in (None, archive.md5):
        return _published(name, path)
    return _own(name, "archive", path, md5)


def _published(name: str, path: Path | None) -> Source:
    md5 = ARCHIVES[name].md5
    return Source(
        name=name,
        label=name,
        id=f"md5:{md5}",
        fingerprint=None,
        printed=True,
        kind="archive",
        path=path,
        num_classes=NUM_CLASSES[name],
        md5=md5,
    )


def _own(name: str, kind: Literal["archive", "parquet"], path: Path, md5: str | None) -> Source:
    """A data set of the user's, identified by its pixels, which are decoded once."""
    unknown = Source(
        name=name,
        label=_label(name, kind, path),
        id="",
        fingerprint=None,
        printed=False,
        kind=kind,
        path=path,
        num_classes=NUM_CLASSES[name],
        md5=md5,
    )
    from resbench.data import cache

    key = f"{name}-{md5 or _digest(name, path)}"
    fingerprint = cache.read_fingerprint(key)
    if fingerprint is None:
        fingerprint = load(unknown).fingerprint
        cache.write_fingerprint(key, fingerprint)
    return replace(unknown, id=f"sha256:{fingerprint}", fingerprint=fingerprint)


def _decode(source: Source) -> Images:
    """Read the files of a source; the only place that imports a decoder."""
    if source.kind == "digits":
        from resbench.data.digits import read_digits

        return read_digits()
    if source.path is None:
        directory = data_dir()
        raise EnvironmentFault(
            f"{source.name}: {directory / ARCHIVES[source.name].filename} is not there. Run "
            f"`resbench data fetch {source.name}`, or {how_to_get(source.name, directory)}, or "
            f"name a folder that has the data with --data {source.name}=FOLDER."
        )
    if source.kind == "parquet":
        from resbench.data.parquet import read_parquet

        return read_parquet(source.name, source.path, parquet_files(source.name, source.path))
    from resbench.data.archives import read_archive

    assert source.md5 is not None
    return read_archive(source.name, source.path, source.md5)


def _split_md5(location: Path) -> tuple[Path, str | None]:
    match = re.fullmatch(r"(.+)#md5=([0-9a-f]{32})", str(location), flags=re.DOTALL)
    return (Path(match[1]), match[2]) if match else (location, None)


def _digest(name: str, folder: Path) -> str:
    """Return a sha256 over the digests of a folder's Parquet files, train before test."""
    total = hashlib.sha256()
    for split, paths in parquet_files(name, folder).items():
        for path in paths:
            with path.open("rb") as file:
                total.update(split.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _label(name: str, kind: str, path: Path) -> str:
    """Return an identifier from the file name that cannot be taken for the printed data set."""
    stem = re.sub(r"(\.tar)?\.gz$|\.tgz$", "", path.name.lower())
    label = re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_")[:48] or name
    plain = re.sub("[-_]", "", label).removesuffix("python")
    return f"{label}-{kind}" if plain in NUM_CLASSES else label
