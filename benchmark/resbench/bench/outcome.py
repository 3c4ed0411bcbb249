"""Measured goals: how they are taken one after the other, kept in a file, and taken up again."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resbench import __version__
from resbench.bench.contest import Bench, Reading
from resbench.bench.goals import Goal, Level
from resbench.bench.measure import Spread
from resbench.errors import EnvironmentFault
from resbench.runner.devices import cores
from resbench.store.atomic import load_object, read_file
from resbench.train.environment import environment

BUSY = 0.3
"""A load average above this share of the cores is a machine that does something else too."""


@dataclass(frozen=True)
class Row:
    """One line of the answer: a goal, one of its readings, and what the machine did meanwhile."""

    goal: str
    metric: str
    unit: str
    aims: tuple[float | None, float | None, float | None]
    """Floor, target, stretch."""
    reading: Reading | None
    """None where the measurement failed."""
    level: Level | None
    """None where nothing is judged."""
    load: float
    """The system's load average over a minute, before."""
    at: str
    """UTC, ISO 8601."""
    error: str = ""


def measure(goal: Goal, bench: Bench) -> list[Row]:
    """Return the rows of one goal; one that fails becomes a row that says so."""
    load, at = os.getloadavg()[0], datetime.now(UTC).isoformat(timespec="seconds")
    place = (goal.name, goal.metric, goal.unit, (goal.floor, goal.target, goal.stretch))
    try:
        readings = goal.measure(bench)
    except Exception as error:  # the other goals can still be measured
        text = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return [Row(*place, None, None, load, at, text)]
    return [Row(*place, reading, _level(goal, reading, bench), load, at) for reading in readings]


def _level(goal: Goal, reading: Reading, bench: Bench) -> Level | None:
    has_aim = any(aim is not None for aim in (goal.floor, goal.target, goal.stretch))
    return goal.level(reading.value) if has_aim and reading.judged and not bench.quick else None


def machine(bench: Bench) -> dict[str, Any]:
    """Return device, processor and versions: nothing that names a person or a host."""
    return {**environment(bench.device), "cores": cores(), "resbench": __version__}


def file_stem(bench: Bench) -> str:
    """Return the device and the date as a file name."""
    name = str(machine(bench)["device_name"]).lower()
    where = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    kind = "" if bench.on_gpu else f"-{cores()}-cores"
    quick = "_quick" if bench.quick else ""
    return f"{where}{kind}_{datetime.now(UTC):%Y-%m-%d}{quick}"


def earlier_rows(path: Path, now: Sequence[Row]) -> list[Row]:
    """Return the rows of an older file, those measured again left out.

    Raises:
        EnvironmentFault: the file is damaged.
    """
    data = read_file(path)
    if data is None:
        return []
    measured = {(row.goal, row.metric) for row in now}
    try:
        rows = [_row(fields) for fields in load_object(data)["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise EnvironmentFault(f"{path}: damaged ({error}). Restore or remove it.") from error
    return [row for row in rows if (row.goal, row.metric) not in measured]


def _row(fields: dict[str, Any]) -> Row:
    reading = fields["reading"]
    if reading is not None:
        spreads = ("value", "ours", "other", "by_cpu_time", "cpu_s")
        reading = Reading(
            **reading | {name: reading[name] and Spread(**reading[name]) for name in spreads}
        )
    return Row(**fields | {"aims": tuple(fields["aims"]), "reading": reading})
