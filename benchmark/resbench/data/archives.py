"""Reading the published CIFAR archives without trusting them.

The MD5 is checked before anything is unpickled, members are read by their exact names and never
extracted, and the unpickler knows no class but stand-ins for the uint8 arrays of a batch.
"""

from __future__ import annotations

import hashlib
import pickle
import tarfile
import zlib
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import numpy as np

from resbench.data.catalog import NUM_CLASSES, SIDE_PX, Archive, published_archive
from resbench.data.images import Images, Part, UInt8Array, check_labels, join_parts
from resbench.errors import EnvironmentFault


def md5_of(file: BufferedReader) -> str:
    """Return the MD5 of an open file, in hex."""
    # md5 identifies a published file here; the flag keeps FIPS builds of Python working.
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def read_archive(name: str, path: Path, md5: str) -> Images:
    """Load the archive at ``path``, whose MD5 must be ``md5``.

    Raises EnvironmentFault where the file is missing, differs, or does not hold the batches.
    """
    archive = published_archive(name)
    try:
        with path.open("rb") as file:
            actual = md5_of(file)
            if actual != md5:
                raise EnvironmentFault(_mismatch(name, path, md5, actual))
            file.seek(0)
            batches = _read_members(file, path, archive)
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be read: {error.strerror or error}.") from error
    train, test = (
        [
            _batch(batches[member], archive.labels_key, NUM_CLASSES[name], f"{path}: {member}")
            for member in members
        ]
        for members in (archive.train, archive.test)
    )
    class_names = tuple(str(item) for item in batches[archive.meta].get(archive.names_key, ()))
    return join_parts(str(path), train, test, class_names, NUM_CLASSES[name])


def _mismatch(name: str, path: Path, expected: str, actual: str) -> str:
    archive = published_archive(name)
    start = f"{path}: MD5 is {actual}, expected {expected}: "
    if expected != archive.md5:
        return f"{start}not the archive that was vouched for. Name its own MD5 or restore the file."
    return (
        f"{start}a damaged download, or not the published {archive.filename}. Delete it and run "
        f"`resbench data fetch {name}`; to use an archive of your own under its own label, vouch "
        f"for it with --data '{name}={path}#md5={actual}'."
    )


def _read_members(file: IO[bytes], path: Path, archive: Archive) -> dict[str, dict[str, Any]]:
    """Unpickle the expected members, each present exactly once as a plain file."""
    names = (*archive.train, *archive.test, archive.meta)
    wanted = {f"{archive.folder}/{name}": name for name in names}
    found: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:gz") as tar:
            for member in tar:
                name = wanted.get(member.name)
                if name is None:
                    continue
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is None or name in found:
                    raise EnvironmentFault(
                        f"{path}: member {member.name} is a link or there twice. "
                        "Not an archive of this data set."
                    )
                found[name] = _unpickle(stream, f"{path}: member {member.name}")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise EnvironmentFault(f"{path}: not a whole .tar.gz archive: {error}.") from error
    missing = [member for member, name in wanted.items() if name not in found]
    if missing:
        raise EnvironmentFault(f"{path}: lacks {', '.join(missing)}. Is this another data set?")
    return found


def _batch(batch: dict[str, Any], labels_key: str, num_classes: int, place: str) -> Part:
    """Return images ``[n, 32, 32, 3]`` and labels ``[n]`` of one unpickled batch."""
    data, labels = batch.get("data"), batch.get(labels_key)
    pixels = 3 * SIDE_PX**2
    if not isinstance(data, _PickledArray) or data.array.shape[1:] != (pixels,):
        raise EnvironmentFault(f"{place}: 'data' is not a uint8 array of [n, {pixels}].")
    if (
        not isinstance(labels, list)
        or len(labels) != len(data.array)
        or not all(type(label) is int and -(2**63) <= label < 2**63 for label in labels)
    ):
        raise EnvironmentFault(f"{place}: '{labels_key}' is not a list of one integer per image.")
    numbers = np.array(labels, dtype=np.int64)
    check_labels(numbers, num_classes, place)
    planes = data.array.reshape(-1, 3, SIDE_PX, SIDE_PX)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), numbers


class _PickledType:
    """Stands in for numpy.dtype; an array accepts uint8 only."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code

    def __setstate__(self, _: object) -> None:
        """Ignore byte order and alignment: they mean nothing for single bytes."""


class _PickledArray:
    """Stands in for numpy.ndarray: keeps the bytes of a uint8 array, whatever numpy wrote it."""

    def __init__(self, *_: object) -> None:
        # numpy pickles an array as _reconstruct(ndarray, (0,), b"b"), then its state.
        self.array: UInt8Array = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _PickledType, bool, Any]) -> None:
        _, shape, dtype, fortran, raw = state
        if dtype.code != "u1":
            raise pickle.UnpicklingError(f"array of type {dtype.code}")
        data = raw.encode("latin-1") if isinstance(raw, str) else raw
        self.array = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Unpickler(pickle.Unpickler):
    """Builds plain Python values and uint8 arrays; any other class is refused."""

    ALLOWED = {  # noqa: RUF012 - a constant
        ("numpy.core.multiarray", "_reconstruct"): _PickledArray,
        ("numpy._core.multiarray", "_reconstruct"): _PickledArray,
        ("numpy", "ndarray"): _PickledArray,
        ("numpy", "dtype"): _PickledType,
    }

    def find_class(self, module_name: str, global_name: str) -> type:
        try:
            return self.ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"refused {module_name}.{global_name}") from None


def _unpickle(stream: IO[bytes], place: str) -> dict[str, Any]:
    """Return the dict pickled by Python 2 (its str read as latin-1, as torchvision does)."""
    try:
        batch = _Unpickler(stream, encoding="latin-1").load()
    except Exception as error:  # a hostile or torn stream may make pickle raise anything
        raise EnvironmentFault(f"{place}: not a batch of plain arrays: {error}.") from error
    if not isinstance(batch, dict):
        raise EnvironmentFault(f"{place}: holds a {type(batch).__name__}, expected a dict.")
    return batch
