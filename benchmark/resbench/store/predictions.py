"""Per-image predictions: what every reported error is recomputed from.

``index`` says which image a row is: its position among all test images of the data set in ascending
sha256 of [label as one byte, pixels row by row as RGB bytes]. That order is one of content, so
whoever has the images, in whatever container, finds the row of each.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resbench.errors import EnvironmentFault
from resbench.store.atomic import read_file, write_atomic

SMALLEST = float(np.finfo(np.float32).tiny)
"""Probabilities below the smallest normal float32 count as this much."""

ORDER = b"index: position of the image in ascending sha256 of its label byte and RGB bytes"
"""Comment of the zip archive, so that the file says it itself."""
_TYPES = {"pred": "<i2", "prob_true": "<f4", "label": "<i2", "index": "<i4"}


@dataclass(frozen=True, eq=False)
class Predictions:
    """Test images, N each: predicted class, probability of the true class, label, which image."""

    pred: npt.NDArray[np.int16]
    prob_true: npt.NDArray[np.float32]
    label: npt.NDArray[np.int16]
    index: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        shape = (len(self.label),)
        for name, array in self._arrays().items():
            dtype = np.dtype(_TYPES[name])
            if array.dtype != dtype or array.shape != shape:
                raise ValueError(
                    f"{name}: {array.dtype} of shape {array.shape} where {dtype} of shape {shape} "
                    "is needed"
                )
        if not len(self.label):
            raise ValueError("no images")
        if min(self.label.min(), self.pred.min()) < 0:
            raise ValueError("a class is negative")
        if not np.all((self.prob_true >= 0) & (self.prob_true <= 1)):
            raise ValueError("prob_true is not between 0 and 1 everywhere")
        if not np.all(np.diff(self.index, prepend=-1) > 0):
            raise ValueError("index does not ascend from 0")

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in _TYPES}


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write an npz whose bytes depend on the arrays alone: no times, no compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = ORDER
        for name, values in predictions._arrays().items():
            member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, the zip format's zero
            member.create_system = 3
            member.external_attr = 0o644 << 16
            array, contiguous = io.BytesIO(), np.ascontiguousarray(values)
            np.lib.format.write_array(array, contiguous, (1, 0), allow_pickle=False)
            archive.writestr(member, array.getvalue())
    write_atomic(path, buffer.getvalue())


def read_predictions(path: Path) -> Predictions:
    """Read what :func:`write_predictions` wrote; nothing is unpickled or inflated.

    Raises:
        EnvironmentFault: missing, damaged or not of this format.
    """
    data = read_file(path)
    if data is None:
        raise EnvironmentFault(f"{path}: missing; the run's numbers cannot be recomputed.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if archive.comment != ORDER:
                raise ValueError("its comment is not that of its format")
            if archive.namelist() != [f"{name}.npy" for name in _TYPES]:
                raise ValueError(f"holds {archive.namelist()}")
            return Predictions(**{name: _read_member(archive, name) for name in _TYPES})
    except Exception as error:  # numpy parses headers as Python, and raises what that raises
        raise EnvironmentFault(
            f"{path}: not readable as predictions ({error or type(error).__name__}). "
            f"Restore it, or remove {path.parent} to train this run again."
        ) from error


def _read_member(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise ValueError(f"{name} is compressed or encrypted")
    stream = io.BytesIO(archive.read(member))
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} is not of npy version 1.0")
    shape, _, kind = np.lib.format.read_array_header_1_0(stream)
    if kind != np.dtype(_TYPES[name]):
        raise ValueError(f"{name} holds {kind}")
    # The length comes from the bytes that are there: a lying header cannot ask for memory.
    array = np.frombuffer(stream.read(), kind)
    if array.shape != shape:
        raise ValueError(f"{name} holds {len(array)} values where its header says {shape}")
    return array


def error_from_predictions(predictions: Predictions) -> tuple[float, float]:
    """Return top-1 error in percent and the mean of -log(probability of the true class)."""
    wrong = int(np.count_nonzero(predictions.pred != predictions.label))
    log_p = np.log(np.maximum(predictions.prob_true, SMALLEST).astype(np.float64))
    return 100.0 * wrong / len(predictions.label), float(-log_p.mean())
