from __future__ import annotations

import hashlib
import io
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resbench.errors import EnvironmentFault
from resbench.store.predictions import (
    ORDER,
    Predictions,
    error_from_predictions,
    read_predictions,
    write_predictions,
)

from ..factory import Hostile, predictions_of

FIXED = Predictions(
    np.arange(10, dtype=np.int16),
    np.arange(10, dtype=np.float32) / np.float32(16),
    np.arange(10, dtype=np.int16)[::-1],
    np.arange(0, 30, 3, dtype=np.int32),
)
NAMES = ("pred", "prob_true", "label", "index")


def test_predictions_come_back_as_written(tmp_path: Path) -> None:
    path, predictions = tmp_path / "predictions.npz", predictions_of(3)
    write_predictions(path, predictions)
    found = read_predictions(path)
    for name in NAMES:
        assert getattr(found, name).dtype == getattr(predictions, name).dtype
        assert (getattr(found, name) == getattr(predictions, name)).all()
    with np.load(path, allow_pickle=False) as plain:  # any reader of npz
        assert tuple(plain) == NAMES


def test_bytes_depend_on_the_arrays_alone_and_say_how_images_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "predictions.npz"
    digest = "7655423229f0a0f687eaa9bc29d5ac2e83b586df3606636e2c05d4e19a3eb5c2"
    for now in (0.0, 4_102_444_800.0):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        write_predictions(path, FIXED)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        assert found == digest, "the format changed: packs of other machines would conflict"
    with zipfile.ZipFile(path) as archive:
        assert archive.comment == ORDER


def test_error_is_that_of_a_plain_count() -> None:
    for seed in range(5):
        predictions = predictions_of(seed, images=97)
        wrong = sum(p != t for p, t in zip(predictions.pred, predictions.label, strict=True))
        loss = sum(-np.log(float(p)) for p in predictions.prob_true) / 97
        error, mean = error_from_predictions(predictions)
        assert error == 100 * wrong / 97
        assert mean == pytest.approx(loss, rel=1e-12)
    one = np.zeros(1, np.int16)
    impossible = Predictions(one, np.zeros(1, np.float32), one, np.zeros(1, np.int32))
    error, loss = error_from_predictions(impossible)
    assert error == 0
    assert loss == pytest.approx(87.336, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("pred", np.zeros(10, np.int64), "int64"),
        ("pred", np.zeros(9, np.int16), r"shape \(9,\)"),
        ("label", np.full(10, -1, np.int16), "negative"),
        ("pred", np.full(10, -1, np.int16), "negative"),
        ("prob_true", np.full(10, np.nan, np.float32), "between 0 and 1"),
        ("prob_true", np.full(10, 1.5, np.float32), "between 0 and 1"),
        ("prob_true", np.zeros((10, 1), np.float32), r"shape \(10, 1\)"),
        ("index", np.arange(9, -1, -1, dtype=np.int32), "ascend"),
        ("index", np.zeros(10, np.int32), "ascend"),
        ("index", np.arange(-1, 9, dtype=np.int32), "ascend"),
    ],
)
def test_arrays_of_another_kind_are_no_predictions(name: str, array: np.ndarray, said: str) -> None:
    arrays: dict[str, Any] = {name: getattr(FIXED, name) for name in NAMES}
    with pytest.raises(ValueError, match=said):
        Predictions(**{**arrays, name: array})


def member(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, (1, 0), allow_pickle=allow_pickle)
    return buffer.getvalue()


GOOD = {f"{name}.npy": member(getattr(FIXED, name)) for name in NAMES}


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.comment = ORDER
        for name, data in members.items():
            archive.writestr(name, data)


def test_hostile_pickle_in_an_npz_is_never_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    array = np.array([Hostile(marker)], dtype=object)
    pickled = member(array, allow_pickle=True)
    path = tmp_path / "predictions.npz"
    write_zip(path, {**GOOD, "pred.npy": pickled})
    with pytest.raises(EnvironmentFault, match="pred holds object"):
        read_predictions(path)
    assert not marker.exists()
    np.load(io.BytesIO(pickled), allow_pickle=True)  # control: it would have acted
    assert marker.exists()


@pytest.mark.parametrize(
    "header", ["(", "-" * 9000 + "1", "{1: 2, 'descr': 3}", "('<i2',)", " x\n y"]
)
def test_a_header_that_numpy_cannot_parse_is_named(tmp_path: Path, header: str) -> None:
    path = tmp_path / "predictions.npz"
    text = header.encode() + b"\n"
    forged = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    write_zip(path, {**GOOD, "pred.npy": forged})
    with pytest.raises(EnvironmentFault, match="not readable as predictions"):
        read_predictions(path)


def test_unfit_zip_is_named_and_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    write_zip(path, GOOD)
    assert (read_predictions(path).label == FIXED.label).all()  # control
    bomb = {**GOOD, "pred.npy": member(np.zeros(50_000_000, np.int16))}
    write_zip(path, bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 200_000
    with pytest.raises(EnvironmentFault, match="pred is compressed"):
        read_predictions(path)
    lying = GOOD["pred.npy"].replace(b"(10,), }        ", b"(9999999999,), }")
    write_zip(path, {**GOOD, "pred.npy": lying})
    with pytest.raises(EnvironmentFault, match=r"holds 10 values .* \(9999999999,\)"):
        read_predictions(path)
    for members in ({**GOOD, "../x": b""}, dict(reversed(GOOD.items())), {}):
        write_zip(path, members)
        with pytest.raises(EnvironmentFault, match=r"predictions\.npz: not readable"):
            read_predictions(path)


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    with pytest.raises(EnvironmentFault, match=r"predictions\.npz: missing"):
        read_predictions(path)
    write_predictions(path, FIXED)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 37):
        path.write_bytes(whole[:cut])
        with pytest.raises(EnvironmentFault, match=r"predictions\.npz: not readable"):
            read_predictions(path)
    body = whole.index(b"NUMPY") + 130  # within the values: only the zip's CRC can tell
    path.write_bytes(whole[:body] + bytes([whole[body] ^ 1]) + whole[body + 1 :])
    with pytest.raises(EnvironmentFault, match="Bad CRC"):
        read_predictions(path)
