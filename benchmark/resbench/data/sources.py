"""Which data set a name means on this machine, and loading it.

:func:`identify` imports neither numpy nor a decoder where the cache has the answer, and reads no
file that it has seen before, so that a plan takes milliseconds and needs no data.
"""

from __future__ import annotations

import hashlib
import os
import pkgutil
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resbench.data import cache
from resbench.datasets import DATA_SETS, Archive, DataSet
from resbench.errors import EnvironmentFault, UsageError, did_you_mean
from resbench.suite.expand import DataChoice

if TYPE_CHECKING:
    from resbench.data.images import Images

SETTLED_S = 2.0
"""A file that has changed since may change again without another time: some clocks are coarse."""


@dataclass(frozen=True)
class Source(DataChoice):
    """A data set and where it is.

    Its label is its name, or for other images than the published ones that of the user's folder
    and four digits of the id, which is ``sha256:`` and :attr:`Images.fingerprint`.
    """

    path: Path | None
    """The archive or folder; None where there is none (yet), or it comes with a package."""

    @property
    def available(self) -> bool:
        """Whether there is something to load."""
        return self.path is not None or DATA_SETS[self.name].reader is not None


def data_dir() -> Path:
    """Return the folder that is searched for data (``RESBENCH_DATA_DIR`` overrides)."""
    return cache.user_folder("RESBENCH_DATA_DIR", "data")


def parse_locations(pairs: Sequence[str]) -> dict[str, Path]:
    """Return absolute paths by data set from ``cifar10=PATH`` pairs, for :func:`identify`.

    Every problem is reported at once, as one UsageError.
    """
    locations: dict[str, Path] = {}
    problems: list[str] = []
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals:
            text = "expected NAME=PATH, for instance cifar10=FOLDER."
        elif name not in DATA_SETS:
            text = _unknown(name)
        elif DATA_SETS[name].reader:
            text = f"{name} comes with resbench's dependencies and has no other location."
        elif name in locations:
            text = f"{name} is given twice."
        elif not path or "\0" in path:
            text = f"expected a path, got {path!r}."
        else:
            locations[name] = Path(os.path.abspath(os.path.expanduser(path)))
            continue
        problems.append(f"--data '{pair}': {text}")
    if problems:
        raise UsageError("\n".join(problems))
    return locations


def identify(name: str, locations: Mapping[str, Path]) -> Source:
    """Return the source of ``name``, from the cache where possible.

    A location is the published archive, the folder that it unpacks to, a folder of Parquet files,
    or a folder that contains one of these. Without a location :func:`data_dir` is searched for an
    archive and for a folder ``NAME`` of Parquet files. If there is none, the source is the
    published data set, which is not available.

    Raises UsageError for an unknown name, EnvironmentFault for a location that does not exist.
    """
    if name not in DATA_SETS:
        raise UsageError(_unknown(name))
    known, location = DATA_SETS[name], locations.get(name)
    published = Source(name, name, known.id, None)
    if known.reader:
        return published
    try:
        if location is not None:
            return _source(known, _located(known, location), location.name)
        path = _search_archive(known.archive, data_dir()) or _search(known, data_dir() / name)
        return published if path is None else _source(known, path, name)
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or location}: cannot be read: {error.strerror}. "
            f"Name another folder with --data {name}=PATH, or with RESBENCH_DATA_DIR."
        ) from error


def load(source: Source) -> Images:
    """Load the images of a source, from the cache where possible.

    Raises EnvironmentFault if data is missing, damaged, or has changed since it was identified.
    """
    known, fingerprint = DATA_SETS[source.name], source.id.removeprefix("sha256:")
    if source.path is not None:
        cached = cache.read_images(fingerprint, known.classes)
        if cached is not None:
            return cached
    images = _decode(known, source.path)
    if images.fingerprint != fingerprint:
        why = f"the data has changed. Restore it; if it never changed, delete {cache.cache_dir()}"
        if source.path is None:  # it comes with a package
            why = "its row in datasets.py is about other images. Correct the row or the package"
        raise EnvironmentFault(
            f"{source.path or source.label}: the fingerprint is {images.fingerprint}, expected "
            f"{fingerprint}: {why}."
        )
    if source.path is not None:
        cache.write_images(images)
    return images


def fetch(name: str, directory: Path | None = None) -> Path:
    """Download and unpack the archive of ``name`` (default: to :func:`data_dir`), verified.

    Raises UsageError for a data set that is not published as an archive.
    """
    archives = {row.name: row.archive for row in DATA_SETS.values() if row.archive is not None}
    if name not in archives:
        if name in DATA_SETS:
            raise UsageError(f"{name}: is not published as an archive, so it cannot be fetched.")
        raise UsageError(f"unknown data set '{name}'.{did_you_mean(name, archives)}")
    from resbench.data.archives import download

    return download(archives[name], directory or data_dir())


def how_to_get(name: str) -> str:
    """Say in one sentence how to get a data set that is not available."""
    archive, folder = DATA_SETS[name].archive, f"with --data {name}=FOLDER"
    if archive is None:
        return f"Name a folder that holds train-*.parquet and test-*.parquet {folder}."
    at_home = cache.HOMELESS not in data_dir().parents
    where = data_dir() / archive.filename if at_home else "the folder that RESBENCH_DATA_DIR names"
    return (
        f"Run `resbench data fetch {name}`, name its folder {folder}, or download "
        f"{archive.url} (MD5 {archive.md5}) to {where}."
    )


def parquet_files(folder: Path) -> dict[str, list[Path]]:
    """Return the sorted ``train*`` and ``test*`` files of a folder, each part once.

    Parts are numbered from 0 or 1, with or without their total (``-of-00002``), and may have a
    suffix. Raises EnvironmentFault if a split or a part is missing, or a part is there twice.
    """
    files = {split: sorted(folder.glob(f"{split}*.parquet")) for split in ("train", "test")}
    for split, paths in files.items():
        if not paths:
            raise EnvironmentFault(f"{folder}: {split}-*.parquet is missing from this folder.")
        numbers, totals = [], set()
        for path in paths:
            part = re.match(rf"{split}[-_.]*(\d+)(?:-of-(\d+))?(?![0-9a-f])", path.name)
            numbers.append(int(part[1]) if part else 0)
            totals.add(int(part[2]) if part and part[2] else len(paths))
        first = min(*numbers, 1)
        if totals != {len(paths)} or sorted(numbers) != [*range(first, first + len(paths))]:
            names = ", ".join(path.name for path in paths)
            raise EnvironmentFault(
                f"{folder}: the {split} files are not all parts of the split, each once: {names}. "
                "Add the missing parts and remove the others."
            )
    return files


def _unknown(name: str) -> str:
    return f"unknown data set '{name}'.{did_you_mean(name, DATA_SETS)}"


def _located(known: DataSet, path: Path) -> Path:
    """Return the archive or folder of a data set at the location that the user names."""
    if path.is_file():
        if known.archive is None or path.suffix == ".parquet":
            raise EnvironmentFault(f"{path}: is a file. Name the folder of the Parquet files.")
        return path
    if not path.is_dir():
        raise EnvironmentFault(f"{path}: no such file or folder (the location of {known.name}).")
    found = _search(known, path)
    if found is None:
        archive = known.archive
        wanted = [archive.filename, archive.folder] if archive else []
        raise EnvironmentFault(
            f"{path}: this folder has none of {', '.join([*wanted, 'train-*.parquet'])} "
            f"(the location of {known.name})."
        )
    return found


def _search(known: DataSet, folder: Path) -> Path | None:
    """Return where a folder has a data set; None where it has none."""
    if (found := _search_archive(known.archive, folder)) is not None:
        return found
    # A clone or download from a hub has its files one folder further down.
    for files in (folder.glob("*.parquet"), folder.glob("*/*.parquet")):
        folders = sorted({path.parent for path in files})
        if len(folders) > 1:
            names = ", ".join(path.name for path in folders)
            raise EnvironmentFault(
                f"{folder}: several folders in it have Parquet files ({names}). Name the right one "
                f"with --data {known.name}={folders[0]}."
            )
        if folders:
            return folders[0]
    return None


def _search_archive(archive: Archive | None, folder: Path) -> Path | None:
    if archive is None:
        return None
    unpacked = folder if folder.name == archive.folder else folder / archive.folder
    return next((path for path in (unpacked, folder / archive.filename) if path.exists()), None)


def _is_archive(known: DataSet, path: Path) -> bool:
    """Whether what was found is an archive or its folder, and not a folder of Parquet files."""
    archive = known.archive
    named = archive is not None and path.name in (archive.filename, archive.folder)
    return named or path.is_file()


def _source(known: DataSet, path: Path, called: str) -> Source:
    """Return the source of existing files, which the user calls so."""
    fingerprint = _fingerprint(known, path)
    if fingerprint == known.fingerprint:
        return Source(known.name, known.name, known.id, path)
    # No other content, and not the published one, has this label.
    stem = re.sub(r"[^a-z0-9_-]+", "-", called.lower()).strip("-_")[:48] or known.name
    return Source(known.name, f"{stem}-{fingerprint[:4]}", f"sha256:{fingerprint}", path)


def _fingerprint(known: DataSet, path: Path) -> str:
    """Return the fingerprint of the images in existing files.

    The cache has it by when the files were last changed, and by their content.
    """
    files = _files(known, path)
    stamp = _stamp(files)
    unchanged = None if stamp is None else f"{known.name}-{stamp}"
    if unchanged and (fingerprint := cache.read_fingerprint(unchanged)):
        return fingerprint
    same = f"{known.name}-{_digest(files)}"
    fingerprint = cache.read_fingerprint(same)
    if fingerprint is None:
        images = _decode(known, path)
        fingerprint = images.fingerprint
        cache.write_images(images)
        cache.write_fingerprint(same, fingerprint)
    if unchanged:
        cache.write_fingerprint(unchanged, fingerprint)
    return fingerprint


def _files(known: DataSet, path: Path) -> dict[str, list[Path]]:
    """Return the files of a source, by the part of the data set that they are."""
    if not _is_archive(known, path):
        return parquet_files(path)
    parts = [path] if path.is_file() else sorted(filter(Path.is_file, path.iterdir()))
    return {part.name: [part] for part in parts}


def _decode(known: DataSet, path: Path | None) -> Images:
    """Read the files of a source; the only place that imports a decoder."""
    if known.reader is not None:
        images: Images = pkgutil.resolve_name(known.reader)()
        return images
    if path is None:
        raise EnvironmentFault(f"{known.name}: not available. {how_to_get(known.name)}")
    if _is_archive(known, path):
        from resbench.data.archives import read_archive

        return read_archive(known, path)
    from resbench.data.parquet import read_parquet

    return read_parquet(known, path, parquet_files(path))


def _stamp(files: Mapping[str, Sequence[Path]]) -> str | None:
    """Return a sha256 that another change of the files would change; None if the last is too new.

    Nobody can set the time of a change (ctime) back, as copying tools do with that of the content.
    """
    total, newest = hashlib.sha256(), 0.0
    for part, paths in files.items():
        for path in paths:
            stat = path.stat()
            newest = max(newest, stat.st_mtime, stat.st_ctime)
            times = (stat.st_mtime_ns, stat.st_ctime_ns)
            total.update(repr((part, stat.st_dev, stat.st_ino, stat.st_size, *times)).encode())
    return total.hexdigest() if newest < time.time() - SETTLED_S else None


def _digest(files: Mapping[str, Sequence[Path]]) -> str:
    """Return a sha256 over the digests of files, in their order.

    Raises EnvironmentFault if two Parquet files are the same.
    """
    total, seen = hashlib.sha256(), dict[bytes, Path]()
    for part, paths in files.items():
        for path in paths:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
            if digest in seen and path.suffix == ".parquet":
                raise EnvironmentFault(f"{path}: the same file as {seen[digest].name}. Remove one.")
            seen[digest] = path
            total.update(os.fsencode(part) + digest)
    return total.hexdigest()
