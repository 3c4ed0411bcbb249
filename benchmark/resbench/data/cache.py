"""The fingerprints and pixels of data sets that were decoded before.

``KEY.json`` has the fingerprint of the files whose digest is KEY, ``FINGERPRINT.npz`` the decoded
arrays, which are hashed again whenever they are read. Processes may race for them. A cache that
cannot be written costs time, never a run.
"""

from __future__ import annotations

import json
import logging
import os
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from resbench.errors import EnvironmentFault
from resbench.store.atomic import atomic_file

if TYPE_CHECKING:
    from resbench.data.images import Images

HOMELESS = Path(os.devnull)
"""A folder in which nothing exists and nothing can be created."""
_FINGERPRINT = "fingerprint-2"
"""Raised when fingerprints change, because caches outlive versions."""
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_log = logging.getLogger(__name__)


def user_folder(variable: str, kind: Literal["cache", "config", "data"]) -> Path:
    """Return the folder that an environment variable names, or the user's own of this kind.

    For a user without a home folder it is below :data:`HOMELESS`.
    """
    path = os.environ.get(variable)
    if not path:
        import platformdirs

        try:
            path = str(getattr(platformdirs, f"user_{kind}_dir")("resbench"))
        except RuntimeError:  # raised by new versions; old ones return the tilde
            path = "~"
    path = os.path.expanduser(path)
    return HOMELESS / "resbench" if path.startswith("~") else Path(os.path.abspath(path))


def cache_dir() -> Path:
    """Return the cache folder (``RESBENCH_CACHE_DIR`` overrides)."""
    return user_folder("RESBENCH_CACHE_DIR", "cache")


def read_fingerprint(key: str) -> str | None:
    """Return the fingerprint stored for the files with digest ``key``, if any."""
    try:
        fingerprint = json.loads((cache_dir() / f"{key}.json").read_bytes())[_FINGERPRINT]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return fingerprint if re.fullmatch("[0-9a-f]{64}", str(fingerprint)) else None


def write_fingerprint(key: str, fingerprint: str) -> None:
    """Store the fingerprint of the files with digest ``key``."""
    content = json.dumps({_FINGERPRINT: fingerprint}).encode()
    _write(cache_dir() / f"{key}.json", lambda file: file.write(content))


def read_images(fingerprint: str, num_classes: int) -> Images | None:
    """Return the stored images with this fingerprint; None where they are absent or damaged."""
    import numpy as np

    from resbench.data.images import Images

    try:
        with (
            (cache_dir() / f"{fingerprint}.npz").open("rb") as file,
            np.load(file, allow_pickle=False) as stored,
        ):
            arrays = {name: stored[name] for name in _ARRAYS}
            names = tuple(stored["class_names"].tolist())
            images = Images(**arrays, num_classes=num_classes, class_names=names)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return images if images.fingerprint == fingerprint else None


def write_images(images: Images) -> None:
    """Store decoded images under their fingerprint."""
    import numpy as np

    arrays = {name: getattr(images, name) for name in (*_ARRAYS, "class_names")}
    _write(cache_dir() / f"{images.fingerprint}.npz", lambda file: np.savez(file, **arrays))


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole; a failure is logged and leaves nothing behind."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            write(file)
    except (OSError, EnvironmentFault) as error:
        text = "%s: not cached: %s. It will be decoded again. Set RESBENCH_CACHE_DIR to a folder."
        _log.warning(text, path, getattr(error.__cause__ or error, "strerror", error))
