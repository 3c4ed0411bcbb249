"""What the repository ships under results/ holds, and can be made again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import to_builtins

from resbench.store.atomic import dump_json
from resbench.store.layout import ResultsFolder, RunFolder
from resbench.store.records import read_record
from resbench.store.scan import scan
from resbench.store.verify import verify_run
from resbench.suite.spec import RunSpec, plain_to

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
REPLAYED = "5713493011b130b4"
"""Attention-56 ARL, tier cpu, seed 1: the cheapest of the recorded networks."""


def test_every_shipped_record_is_verified_from_its_predictions() -> None:
    found = scan(RESULTS)
    assert found.records, "the repository ships no records"
    assert found.problems == ()
    for key in found.records:
        assert verify_run(RunFolder(RESULTS, key)) == ()


def test_every_shipped_record_has_the_key_and_the_bytes_that_this_version_gives_it() -> None:
    paths = sorted(RESULTS.glob("runs/*/record.json"))
    assert paths
    for path in paths:
        record = read_record(RunFolder(RESULTS, path.parent.name))
        spec = plain_to(RunSpec, record.spec)
        assert spec.key == record.key
        assert spec.canonical() == record.spec
        assert f"{dump_json(to_builtins(record), indent=1)}\n".encode() == path.read_bytes()


def test_shipped_results_are_marked_as_evidence() -> None:
    assert ResultsFolder(RESULTS).kind() == "evidence"


def test_shipped_records_name_no_folder_of_a_machine() -> None:
    for path in sorted(RESULTS.rglob("*.json*")):
        assert '"/' not in path.read_text(encoding="utf-8"), path


def test_first_epoch_of_a_shipped_record_repeats_bit_for_bit(shared_data: Path) -> None:
    record = RESULTS / "runs" / REPLAYED / "record.json"
    environment = json.loads(record.read_text())["environment"]
    import torch

    from resbench.train.determinism import cpu_name

    here = {"torch": torch.__version__, "device_name": cpu_name()}
    there = {name: environment[name] for name in here}
    if here != there:
        pytest.skip(f"bits are promised on the same torch and CPU only: {there}, here {here}")
    replay = Path(__file__).with_name("replay.py")
    done = subprocess.run(
        [sys.executable, str(replay), str(record), str(shared_data / "cifar10-jpeg75")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    first = json.loads((record.parent / "metrics.jsonl").read_text().splitlines()[0])
    names = ("train_loss", "train_top1_err", "test_loss", "test_top1_err")
    assert json.loads(done.stdout) == [first[name] for name in names]
