"""Which data set a name means on this machine, and loading it.

Telling data sets apart (:func:`identify`) imports neither numpy nor a decoder where a cache can
tell, so that a plan is made in milliseconds and before the data is there; :func:`load` checks the
bytes and decodes them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from resbench.data.catalog import (
    ARCHIVES,
    FINGERPRINTS,
    NUM_CLASSES,
    cache_dir,
    data_dir,
    how_to_get,
    published_id,
)
from resbench.errors import EnvironmentFault, UsageError, did_you_mean

if TYPE_CHECKING:
    from resbench.data.images import Images

Kind = Literal["archive", "parquet", "digits"]
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Source:
    """A data set and where it is."""

    name: str
    """The name a suite uses: cifar10, cifar100 or digits."""
    label: str
    """What tables print: the name, or that of the user's folder and four digits of the id."""
    id: str
    """``sha256:`` and :attr:`Images.fingerprint`: one for one content, in whatever container."""
    printed: bool
    """The data set that published numbers are about."""
    kind: Kind
    path: Path | None
    """The archive or folder; None where there is none (yet)."""
    num_classes: int


def identify(name: str, locations: Mapping[str, Path]) -> Source:
    """Return the source of ``name``; nothing is decoded that a cache can tell.

    A location is the published archive, the folder that it unpacks to, a folder of Parquet files,
    or a folder that has one of these in it. Without a location
    :func:`~resbench.data.catalog.data_dir` is searched; where nothing is found there, the published
    data set is meant, and it is missing.

    Raises UsageError for an unknown name, EnvironmentFault where a location is not there.
    """
    if name not in NUM_CLASSES:
        raise UsageError(f"unknown data set '{name}'.{did_you_mean(name, NUM_CLASSES)}")
    if name == "digits":
        return _source(name, "digits", None)
    location = locations.get(name)
    try:
        if location is not None:
            return _located(name, location)
        found = _search_archive(name, data_dir()) or _search(name, data_dir() / name)
        if found is not None:
            return _identified(name, *found)
    except OSError as error:
        place = error.filename or location
        raise EnvironmentFault(f"{place}: cannot be read: {error.strerror}.") from error
    return _source(name, "archive", None)


def load(source: Source) -> Images:
    """Load the images of a source, from the cache where it has them.

    Raises EnvironmentFault where data is missing, damaged, or no longer what was identified.
    """
    from resbench.data import cache

    fingerprint = source.id.removeprefix("sha256:")
    if source.path is not None:
        cached = cache.read_images(fingerprint, source.num_classes)
        if cached is not None:
            return cached
    images = _decode(source.name, source.kind, source.path)
    if images.fingerprint != fingerprint:
        raise EnvironmentFault(
            f"{source.path or source.label}: the fingerprint is {images.fingerprint}, expected "
            f"{fingerprint}: not the data that was identified. Restore it; if it never "
            f"changed, delete {cache_dir()}."
        )
    if source.path is not None:
        cache.write_images(images)
    return images


def parquet_files(folder: Path) -> dict[str, list[Path]]:
    """Return the sorted ``train-*`` and ``test-*`` files of a folder, every part there once.

    Raises EnvironmentFault where a split is missing or its parts are not complete.
    """
    files = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in SPLITS}
    for split, paths in files.items():
        if not paths:
            raise EnvironmentFault(f"{folder}: {split}-*.parquet is missing from this folder.")
        if len(paths) == 1 and not re.search(r"-of-\d", paths[0].name):
            continue
        parts = [re.match(rf"{split}-(\d+)-of-(\d+)\b", path.name) for path in paths]
        numbers = [(int(part[1]), int(part[2])) for part in parts if part]
        if sorted(numbers) != [(i, len(paths)) for i in range(len(paths))]:
            names = ", ".join(path.name for path in paths)
            raise EnvironmentFault(
                f"{folder}: the {split} files are not parts 0 to N-1 of N, each once: {names}. "
                "Fetch the missing ones and remove the others."
            )
    return files


def _located(name: str, path: Path) -> Source:
    if path.is_file():
        return _identified(name, "archive", path)
    if not path.is_dir():
        raise EnvironmentFault(f"{path}: no such file or folder (the location of {name}).")
    found = _search(name, path)
    if found is None:
        archive = ARCHIVES[name]
        raise EnvironmentFault(
            f"{path}: neither {archive.filename} nor {archive.folder} nor train-*.parquet and "
            f"test-*.parquet are in this folder (the location of {name})."
        )
    return _identified(name, *found)


def _search(name: str, folder: Path) -> tuple[Kind, Path] | None:
    """Return what a folder has of a data set; None where it has nothing."""
    if (found := _search_archive(name, folder)) is not None:
        return found
    return ("parquet", folder) if any(folder.glob("*.parquet")) else None


def _search_archive(name: str, folder: Path) -> tuple[Kind, Path] | None:
    archive = ARCHIVES[name]
    for batches in (folder, folder / archive.folder):
        named = batches.name == archive.folder and batches.is_dir()
        if named or all((batches / file).is_file() for file in (archive.meta, *archive.test)):
            return "archive", batches
    if (folder / archive.filename).is_file():
        return "archive", folder / archive.filename
    return None


def _identified(name: str, kind: Kind, path: Path) -> Source:
    """Return the source of files that are there. An archive can only be the published one."""
    if kind == "archive":
        return _source(name, kind, path)
    from resbench.data import cache

    key = f"{name}-{_digest(path)}"
    fingerprint = cache.read_fingerprint(key)
    if fingerprint is None:
        images = _decode(name, kind, path)
        fingerprint = images.fingerprint
        cache.write_images(images)
        cache.write_fingerprint(key, fingerprint)
    return _source(name, kind, path, fingerprint)


def _source(name: str, kind: Kind, path: Path | None, fingerprint: str | None = None) -> Source:
    """Return a source; the published data set is known by its fingerprint alone."""
    published = fingerprint in (None, FINGERPRINTS[name])
    return Source(
        name=name,
        label=name if published else _label(name, path, str(fingerprint)),
        id=published_id(name) if published else f"sha256:{fingerprint}",
        printed=published and name in ARCHIVES,
        kind=kind,
        path=path,
        num_classes=NUM_CLASSES[name],
    )


def _decode(name: str, kind: Kind, path: Path | None) -> Images:
    """Read the files of a source; the only place that imports a decoder."""
    if kind == "digits":
        from resbench.data.digits import read_digits

        return read_digits()
    if path is None:
        directory = data_dir()
        raise EnvironmentFault(
            f"{name}: {directory / ARCHIVES[name].filename} is not there. Run "
            f"`resbench data fetch {name}`, or {how_to_get(name, directory)}, or "
            f"name a folder that has the data with --data {name}=FOLDER."
        )
    if kind == "parquet":
        from resbench.data.parquet import read_parquet

        return read_parquet(name, path, parquet_files(path))
    from resbench.data.archives import read_archive

    return read_archive(name, path)


def _digest(folder: Path) -> str:
    """Return a sha256 over the digests of a folder's Parquet files, train before test."""
    total = hashlib.sha256()
    for split, paths in parquet_files(folder).items():
        for path in paths:
            with path.open("rb") as file:
                total.update(split.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _label(name: str, path: Path | None, fingerprint: str) -> str:
    """Return an identifier from a folder's name that no other content has."""
    stem = path.name.lower() if path else ""
    return f"{re.sub(r'[^a-z0-9_-]+', '-', stem).strip('-_')[:48] or name}-{fingerprint[:4]}"
