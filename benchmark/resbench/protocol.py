"""What the runner sends to a worker process, and what a worker answers: one JSON value a line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from resbench.data.sources import Source
from resbench.store.metrics import EpochMetrics, EpochTiming
from resbench.store.state import Status


class Job(Struct, frozen=True):
    """One attempt at one run. Times are of the monotonic clock, which all processes share."""

    key: str
    spec: dict[str, Any]
    context: dict[str, Any]
    source: Source
    results: Path
    device: str
    deadline: float | None = None
    epoch_s: float | None = None
    """Expected seconds an epoch, where measured; decides whether the first epoch may start."""
    networks: Path | None = None
    """The user's ``networks.py``, where the network is of its family."""
    accept_environment: bool = False
    """Resume in another environment, and mark the record."""
    keep_weights: bool = False
    """Store the final weights next to the record."""


class Ready(Struct, tag=True):
    """The process has started."""


class Idle(Struct, tag=True):
    """The process takes its next jobs."""


class Fault(Struct, tag=True):
    """What would stop every run of the plan: a full disk, damaged data."""

    text: str


class Unfit(Struct, tag=True):
    """The device cannot train the run ``key``, or without a key any run; another device may."""

    text: str
    key: str | None = None


class Warned(Struct, tag=True):
    """Something about a run that a person should know."""

    key: str
    text: str


class AtStep(Struct, tag=True):
    """A run is about to do its 0-based ``step`` of ``steps``."""

    key: str
    step: int
    steps: int


class Epoch(Struct, tag=True):
    """A run has finished an epoch."""

    key: str
    epochs: int
    """How many it has in all."""
    steps: int
    metrics: EpochMetrics
    timing: EpochTiming


class End(Struct, tag=True):
    """An attempt at a run is over; every job has one. ``RUNNING``: another process trains it."""

    key: str
    status: Status
    text: str = ""


Event: TypeAlias = Ready | Idle | Fault | Unfit | Warned | AtStep | Epoch | End
RunEvent: TypeAlias = Warned | AtStep | Epoch

DEVICE_FAULT = re.compile(
    r"uncorrectable|no CUDA-capable device|busy or unavailable|device (is |was )?lost|GPU is lost"
    r"|fallen off the bus|hardware (stack )?error|MPS (client|server)|invalid device ordinal"
    r"|system not yet initialized"
    r"|CUDA (error: )?unknown error|(CUDA error: |driver )initialization (error|failed)"
)
"""What CUDA says where the device is at fault. Assertions and illegal addresses are the run's."""

_encoder = msgspec.json.Encoder(enc_hook=str)  # of paths
decode_jobs = msgspec.json.Decoder(list[Job], dec_hook=lambda kind, text: kind(text)).decode
"""Of a line: jobs that are to be trained together."""
decode_event = msgspec.json.Decoder(Event).decode
"""Of a line."""


def encode(message: Event | list[Job]) -> bytes:
    """Return a message as a line; UnicodeEncodeError where a path in it is not UTF-8."""
    return _encoder.encode(message) + b"\n"
