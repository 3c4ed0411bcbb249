"""The smallest real experiments, and the installed command that runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from msgspec.structs import fields

from resbench.data.sources import identify
from resbench.models import Family
from resbench.protocol import Job
from resbench.store.layout import RunFolder
from resbench.store.state import RunState, read_state
from resbench.suite.expand import Context, expand
from resbench.suite.load import load_suite, suite_folder
from resbench.suite.spec import Augment, RunSpec, plain_to

RESBENCH = str(Path(sys.executable).with_name("resbench"))
Done = subprocess.CompletedProcess[str]
PATIENCE_S = 300
"""For anything that a loaded machine may be slow at."""


def names_of(family: Family) -> tuple[str, ...]:
    """The networks of a family."""
    (declared,) = (field.type for field in fields(family.network) if field.name == "name")
    return get_args(declared)


def suite_of(
    name: str = "mini", *, total: int = 4, seeds: tuple[int, ...] = (1,)
) -> dict[str, Any]:
    """A suite of two cells, ``arl`` and ``nal``: about a second of training each."""
    return {
        "version": 1,
        "name": name,
        "title": "Narrow networks on few digits",
        "sources": [{"key": "wang2017", "place": "section 3"}],
        "protocol": "wang2017",
        "base": {
            "data": {"name": "digits", "image_px": 8, "train_images": 64, "test_images": 50},
            "model": {"name": "attention-56", "width": 0.125},
            "training": {
                "batch_size": 16,
                "augment": {"pad_px": 1},
                "optim": {"lr": 0.05},
                "schedule": {
                    "unit": "epoch",
                    "total": total,
                    "drops": [{"at": max(1, total - 1), "factor": 0.1}],
                },
            },
        },
        "seeds": seeds,
        "matrix": {
            "learning": {
                "arl": {"label": "ARL"},
                "nal": {"label": "NAL", "set": {"model.learning": "nal"}},
            }
        },
        "table": {"rows": "learning", "columns": {"err": {"label": "err %"}}},
    }


def write_suite(folder: Path, suite: Mapping[str, Any] | None = None) -> Path:
    """Write a suite, JSON being YAML too; return its path."""
    suite = suite or suite_of()
    path = folder / f"{suite['name']}.yaml"
    path.write_text(json.dumps(suite, indent=1), encoding="utf-8")
    return path


def edited_suite(path: Path, name: str, changes: Mapping[str, str]) -> Path:
    """Write the shipped suite of this name to ``path``, with texts in it replaced."""
    text = (suite_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path


def changed(value: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings with dotted paths replaced."""
    new = json.loads(json.dumps(value))
    for path, item in changes.items():
        node, (*parents, last) = new, path.split(".")
        for name in parents:
            node = node[name]
        node[last] = item
    return new


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield each setting of a canonical specification: its dotted path and its value."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, (*path, name))
    else:
        yield ".".join(path), value


def augment_of(kind: str, **changes: Any) -> Augment:
    """The usual transformation of a kind, with fields changed."""
    usual = {"pad_px": 4, "flip": True, "rotation_deg": 0.0, "shift": 0.0, "zoom": 0.0}
    return plain_to(Augment, {"kind": kind, **usual, **changes})


@cache
def _usual() -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        loaded = load_suite(str(write_suite(Path(folder))))
    context = Context("eager", "fp32", {"digits": identify("digits", {})})
    return expand(loaded, context).cell("arl").at_seed(1).canonical()


def spec_of(**changes: Any) -> RunSpec:
    """The specification of a run of the suite above; ``training__optim__lr=1`` changes a field."""
    dotted = {name.replace("__", "."): item for name, item in changes.items()}
    value = changed(_usual(), dotted)
    schedule = value["training"]["schedule"]
    if "training.schedule.drops" not in dotted:
        schedule["drops"] = [drop for drop in schedule["drops"] if drop["at"] <= schedule["total"]]
    return plain_to(RunSpec, value)


REPORT = {
    "model": {
        "family": "report2019",
        "name": "attention-56",
        "learning": "arl",
        "unit": "residual",
        "fix_trunk": False,
        "as_trained": False,
        "batch_norm": True,
        "skips": "code",
        "dropout": 0.4,
        "width": 0.125,
    },
    "data__image_px": 16,
    "training__val_in_train": 16,
    "training__optim": {
        "name": "adam",
        "lr": 1e-3,
        "momentum": 0.0,
        "nesterov": False,
        "weight_decay": 1e-3,
        "decay": "conv_fc",
    },
}
"""Changes that make the run one of the 2019 report."""


def job_of(spec: RunSpec, results: Path, **fields: Any) -> Job:
    """A job as the runner makes it."""
    return Job(
        key=spec.key,
        spec=spec.canonical(),
        context={"cells": [["mini", "arl"]]},
        source=identify(spec.data.name, {}),
        results=results,
        **{"device": "cpu", **fields},
    )


def run_folders(results: Path) -> list[RunFolder]:
    """Every run of a results folder."""
    names = sorted(path.name for path in (results / "runs").iterdir())
    return [RunFolder(results, name) for name in names if not name.startswith(".")]


def state_of(run: RunFolder) -> RunState:
    """What a run says of itself, which must be there."""
    state = read_state(run)
    assert state is not None
    return state


def outputs(results: Path) -> dict[str, bytes]:
    """What a repetition of the runs must give again, byte by byte."""
    kept = ("spec.json", "metrics.jsonl", "predictions.npz")
    return {
        f"{run.key}/{name}": (run.path / name).read_bytes()
        for run in run_folders(results)
        for name in kept
        if (run.path / name).exists()
    }


def own_environment(folder: Path, **variables: str) -> dict[str, str]:
    """An environment that touches nothing of the user's and knows of no GPU."""
    return {
        **os.environ,
        "RESBENCH_CACHE_DIR": str(folder / "cache"),
        "RESBENCH_DATA_DIR": str(folder / "archives"),
        "CUDA_VISIBLE_DEVICES": "",
        "COLUMNS": "200",
        **variables,
    }


def ran(folder: Path, *command: str, **variables: str) -> Done:
    """Run a command in ``folder`` to its end."""
    return subprocess.run(
        command,
        cwd=folder,
        env=own_environment(folder, **variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def resbench(folder: Path, *arguments: str, **variables: str) -> Done:
    """Run the installed command in ``folder`` to its end."""
    return ran(folder, RESBENCH, *arguments, **variables)


def python(folder: Path, code: str, *arguments: str, **variables: str) -> str:
    """Return what a program of Python prints, which must end well."""
    done = ran(folder, sys.executable, "-c", code, *arguments, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def raising(error: BaseException) -> Callable[..., Any]:
    """Return what raises this error, whatever it is called with."""

    def raise_it(*_: Any, **__: Any) -> Any:
        raise error

    return raise_it


def executable(path: Path, body: str) -> Path:
    """Write a shell script that stands for a tool."""
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@contextmanager
def started(folder: Path, *command: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A command under way in ``folder``; it is gone when the block ends, however it ends."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=own_environment(folder, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as a terminal's job: a group that can be signalled
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true value of ``condition``; fail after a while, naming ``what``."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")
