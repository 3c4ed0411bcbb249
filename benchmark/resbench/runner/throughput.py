"""How long a run will take: measured images per second, by device, network and batch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from resbench.data.catalog import cache_dir, test_images, train_images
from resbench.store.records import RunRecord
from resbench.suite.schedule import resolve
from resbench.suite.spec import RunSpec, plain_to


@dataclass
class Throughput:
    """Known rates; of a kind of run the newest record's, else the calibration's.

    ``device`` is everywhere a :attr:`resbench.runner.devices.Device.kind`.
    """

    rates: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Kind of run -> (training images/s, share of evaluation on top of training time)."""

    @staticmethod
    def measured(records: Iterable[RunRecord]) -> Throughput:
        """Collect rates from the calibration cache, then from records, the newest last."""
        known = Throughput(_read_cache())
        for record in sorted(records, key=lambda record: record.timing.started):
            if record.timing.train_s > 0 and record.timing.images_per_s > 0:
                try:
                    spec = plain_to(RunSpec, record.spec)
                except ValueError:  # of another version of resbench
                    continue
                kind = kind_of(spec, record.environment.device_name)
                share = record.timing.eval_s / record.timing.train_s
                known.rates[kind] = (record.timing.images_per_s, share)
        return known

    def seconds(self, spec: RunSpec, device: str, done_epochs: int = 0) -> float | None:
        """Return the expected seconds that are left of a run, or None where nothing is known."""
        rate = self.rates.get(kind_of(spec, device))
        if rate is None:
            return None
        steps = resolve(spec, train_images(spec.data))
        left = max(0, steps.total - done_epochs * steps.per_epoch)
        return left * spec.training.batch_size / rate[0] * (1 + rate[1])

    def epoch_seconds(self, spec: RunSpec, device: str) -> float | None:
        """Return the expected seconds of one epoch, or None where nothing is known."""
        total = self.seconds(spec, device)
        return None if total is None else total / resolve(spec, train_images(spec.data)).epochs

    def learn(self, spec: RunSpec, device: str, train_per_s: float, eval_per_s: float) -> None:
        """Add a calibration, in images per second."""
        train_s = train_images(spec.data) / train_per_s
        eval_s = (test_images(spec.data) + spec.training.val_in_train) / eval_per_s
        self.rates[kind_of(spec, device)] = (train_per_s, eval_s / train_s)

    def save(self) -> None:
        """Keep the rates for the next plan; a cache that cannot be written is no error."""
        path = _cache_file()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(self.rates, indent=1, sort_keys=True))
            temporary.replace(path)
        except OSError:
            pass


def kind_of(spec: RunSpec, device: str) -> str:
    """Return what a rate depends on: device, engine, precision, network, image size and batch.

    ``device`` is a :attr:`resbench.runner.devices.Device.kind`.
    """
    model = msgspec.json.encode(spec.model).decode()
    size = spec.data.image_px or "native"
    return f"{device} {spec.engine} {spec.precision} {model} {size} {spec.training.batch_size}"


def _cache_file() -> Path:
    return cache_dir() / "throughput.json"


def _read_cache() -> dict[str, tuple[float, float]]:
    try:
        raw: Any = json.loads(_cache_file().read_text())
        return {str(k): (float(v[0]), float(v[1])) for k, v in raw.items()}
    except (OSError, ValueError, TypeError, AttributeError, IndexError):
        return {}
