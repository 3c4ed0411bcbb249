"""What the repository ships under results/ holds, and can be made again."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median, stdev
from typing import Any

import pytest
from msgspec import to_builtins

import resbench
from resbench.stats.multiplicity import ALPHA
from resbench.stats.power import detectable
from resbench.store.atomic import dump_json
from resbench.store.layout import RunFolder, is_marked, open_for_writing
from resbench.store.records import RunRecord, read_record
from resbench.store.scan import scan
from resbench.store.verify import verify_run
from resbench.suite.load import load_suite
from resbench.suite.spec import RunSpec, plain_to

from ..committed import ROOT, committed
from ..factory import suite_under

RESULTS = ROOT / "results"
REPLAYED = "14201862db3dcdd4"
"""Attention-56 ARL, tier cpu, seed 1: the cheapest of the recorded networks."""


def test_every_shipped_record_is_verified_from_its_predictions(shipped: Path) -> None:
    found = scan(shipped)
    assert found.records, "the repository ships no records"
    assert (found.problems, found.incomplete) == ((), ())
    for key in found.records:
        assert verify_run(RunFolder(shipped, key)) == ()


def test_the_table_of_what_masks_do_is_what_the_records_say(shipped: Path) -> None:
    page = (ROOT / "docs" / "evidence.md").read_text().partition("## What the masks do")[2]
    rows = re.findall(r"^\| (Attention-\d+) \| (.*) \|$", page.partition("\n## ")[0], re.M)
    assert len(rows) == 6
    runs = [run for run in scan(shipped).records.values() if run.spec["seed"] <= 3]
    for network, cells in rows:
        told = []
        for learning in ("arl", "nal"):
            name = ["mechanism", f"{network.lower()}/{learning}"]
            own = [run for run in runs if name in run.context["cells"]]
            assert len(own) == 3
            starts = [run.signals_at_start for run in own]
            ends = [run.signals_at_end for run in own if run.status == "done"]
            told.append((
                _mean(s.stages["stage3_attention"].product_rms for s in starts if s),
                _mean(s.stem_grad_norm for s in starts if s),
                _mean(s.stages["stage1_attention"].product_rms for s in ends if s),
            ))  # fmt: skip
        expected = [text for pair in zip(*told, strict=True) for text in pair]
        if network in ("Attention-236", "Attention-452"):  # after one step alone
            assert expected[-1] == ""
            expected[-2:] = ["", "diverged"]
        assert [cell.strip() for cell in cells.split("|")] == expected
    late = [_sizes_after_five_epochs(runs, learning) for learning in ("nal", "arl")]
    said = "features of {} in stage 2 and {} in stage 3 under NAL, against {} and {} under ARL"
    assert said.format(*late[0], *late[1]) in page


def _sizes_after_five_epochs(runs: list[RunRecord], learning: str) -> list[str]:
    name = ["table1_arl_vs_nal", f"attention-164/{learning}"]
    own = [run for run in runs if name in run.context["cells"] and run.context["tier"] == "cpu"]
    ends = [run.signals_at_end for run in own]
    assert len(ends) == 3
    stages = ("stage2_attention", "stage3_attention")
    return [_mean(end.stages[stage].product_rms for end in ends if end) for stage in stages]


def test_what_the_plan_can_detect_and_the_errors_it_names_are_those_computed(shipped: Path) -> None:
    page = " ".join((ROOT / "docs" / "evidence.md").read_text().split())
    for tests, said in (
        (7, "a difference of {:.2f} pp with power 0.8; with 1 pp, one of {:.2f} pp."),
        (5, "For a family of five, {} it is {:.2f} and {:.2f} pp."),
    ):
        sds = [sd * math.sqrt(2) for sd in (0.5, 1.0)]
        found = [detectable(3, sd, (-1, 1), alpha=ALPHA / tests) for sd in sds]
        which = ["the claims that the sources make in part 1,"] if tests == 5 else []
        assert said.format(*which, *found) in page
    suite = load_suite("table1_arl_vs_nal").suite
    assert [claim.ours for claim in suite.claims].count(False) == 5
    assert len(suite.claims) == 7
    runs = [run for run in scan(shipped).records.values() if run.context["tier"] == "cpu"]
    means = {}
    for learning in ("nal", "arl"):
        for network in (56, 92, 128, 164):
            name = ["table1_arl_vs_nal", f"attention-{network}/{learning}"]
            own = [run for run in runs if name in run.context["cells"] and run.spec["seed"] <= 3]
            errors = [run.result.test_top1_err or math.nan for run in own]
            means[learning, network] = sum(errors) / len(errors)
    arms = "{:.1f}, {:.1f}, {:.1f} and {:.1f} %"
    said = f"mean test errors of Attention-56, 92, 128 and 164 are {arms}, against {arms} under ARL"
    assert said.format(*means.values()) in page


def test_the_spread_between_seeds_is_that_of_the_records(shipped: Path) -> None:
    runs = scan(shipped).records
    errors: dict[str, list[float]] = {}
    for name in ("table1_arl_vs_nal", "table3_mask", "attention_type"):
        for cell in suite_under(name, tier="cpu").cells:
            keys = [cell.at_seed(seed).key for seed in (1, 2, 3)]
            errors[keys[0]] = [runs[key].result.test_top1_err or math.nan for key in keys]
    sds = sorted(map(stdev, errors.values()))
    page = (ROOT / "docs" / "evidence.md").read_text()
    said = "The {} arms of parts 1 and 5 have spread by {:.2f} to {:.2f} pp since, half of them by "
    assert said.format(len(sds), sds[0], sds[-1]) + f"more than {median(sds):.2f}:" in page


def test_the_table_of_attention_92_is_what_the_records_say(shipped: Path) -> None:
    page = (ROOT / "docs" / "evidence.md").read_text()
    rows = re.findall(r"^\| as (.*), (validation|test) images \| (.*) \| (.*) \|$", page, re.M)
    assert len(rows) == 4
    runs = scan(shipped).records
    suites = {
        "stated": ("table7_cifar10_report", "attention-56", "attention-92"),
        "its code ran": ("report_as_run", "attention-56-arl", "attention-92-arl"),
    }
    metrics = {"validation": "val_in_train_err", "test": "test_top1_err"}
    for how, images, *said in rows:
        suite, *cells = suites[how]
        expanded = suite_under(suite, tier="cpu")
        for cell, number in zip(cells, said, strict=True):
            keys = [expanded.cell(cell).at_seed(seed).key for seed in (1, 2, 3)]
            errors = [getattr(runs[key].result, metrics[images]) for key in keys]
            assert number == f"{sum(errors) / 3:.2f}"


def test_what_is_said_of_the_difference_of_attention_92_is_what_its_claims_say(
    shipped: Path,
) -> None:
    page = (ROOT / "docs" / "evidence.md").read_text()
    claims = resbench.load(shipped).claims.query("claim == 'attention-92-fails-test' and n > 0")
    of = claims.set_index("suite")
    alike, run = of.loc["table7_cifar10_report"], of.loc["report_as_run"]
    ends = -alike["interval_95_high"], -alike["interval_95_low"]
    said = "errs less by {:.2f} pp, 95 % interval {:+.2f} to {:+.2f}, where as its code ran it errs"
    assert said.format(-alike["effect"], *ends) + f" more by {run['effect']:.2f}." in page


def test_the_table_of_speeds_is_what_was_measured(shipped: Path) -> None:
    page = (ROOT / "docs" / "speed.md").read_text().partition("## Measured")[2]
    rows = re.findall(
        r"^\| (.+?) \| ([\d.]+)(?: \S+)?(?: \(([\d.]+)-([\d.]+)\))? \|$",
        page.partition("\n## ")[0], re.M,
    )  # fmt: skip
    measured: dict[str, dict[str, float]] = {}
    for path in sorted(shipped.glob("bench/*.json")):
        for row in json.loads(path.read_text())["rows"]:
            measured.setdefault(row["metric"], row["reading"]["value"])
    assert {what for what, *_ in rows} <= measured.keys()
    assert len(rows) == 11
    for what, *numbers in rows:
        for name, number in zip(("median", "low", "high"), numbers, strict=True):
            places = len(number.partition(".")[2])
            assert number in ("", f"{measured[what][name]:.{places}f}"), what


def _mean(sizes: Iterable[float]) -> str:
    """The geometric mean in three digits."""
    found = list(sizes)
    mean = float(f"{math.exp(sum(map(math.log, found)) / len(found)):.3g}") if found else 0.0
    return f"{mean:,.0f}" if mean >= 100 else f"{mean:#.3g}" if found else ""


def test_every_shipped_record_has_the_key_and_the_bytes_that_this_version_gives_it(
    shipped: Path,
) -> None:
    paths = sorted(shipped.glob("runs/*/record.json"))
    assert paths
    for path in paths:
        record = read_record(RunFolder(shipped, path.parent.name))
        spec = plain_to(RunSpec, record.spec)
        assert spec.key == record.key
        assert spec.canonical() == record.spec
        assert _as_stored(to_builtins(record), json.loads(path.read_bytes())) == path.read_bytes()


def _as_stored(fields: dict[str, Any], stored: dict[str, Any]) -> bytes:
    """Return a record's bytes, without the optional fields that came after it was written."""

    def known(value: Any, like: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(like, dict):
            return value
        return {k: known(v, like.get(k)) for k, v in value.items() if k in like}

    return f"{dump_json(known(fields, stored), indent=1)}\n".encode()


def test_shipped_results_are_a_results_folder_like_any_other(shipped: Path) -> None:
    assert is_marked(shipped)
    open_for_writing(shipped)


@pytest.mark.parametrize(
    "name",
    ["mlflow.db", "mlflow.db-lock", "mlflow.db-wal", "mlartifacts/1/x/artifacts/curves.png",
     ".lock", ".tmp-1-00", "runs/.lock", "runs/.tmp-1-00/spec.json", "runs/.aside-0/spec.json",
     *(f"runs/0123456789abcdef/{name}" for name in (
        ".lock", ".tmp-1-00", "worker.log", "state.json", "checkpoint.bin", "checkpoint.prev.bin",
        "checkpoint.bin.corrupt", "weights.safetensors"))],
)  # fmt: skip
def test_what_a_run_leaves_beside_its_record_is_not_offered_to_git(name: str) -> None:
    committed("results")  # skips where git does not know
    command = ["git", "check-ignore", "--quiet", f"results/{name}"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0
    command[-1] = "results/runs/0123456789abcdef/record.json"
    assert subprocess.run(command, cwd=ROOT).returncode == 1


def test_shipped_records_name_no_folder_of_a_machine(shipped: Path) -> None:
    for path in sorted(shipped.rglob("*.json*")):
        assert '"/' not in path.read_text(encoding="utf-8"), path


@pytest.mark.slow  # minutes: the published width on all images
@pytest.mark.timeout(3600)
def test_first_epoch_of_a_shipped_record_repeats_bit_for_bit(shared_data: Path) -> None:
    record = RESULTS / "runs" / REPLAYED / "record.json"
    environment = json.loads(record.read_text())["environment"]
    import torch

    from resbench.train.environment import signature

    here = {k: v for k, v in signature(torch.device("cpu"), "eager").items() if k != "threads"}
    there = {name: environment.get(name) for name in here}
    if here != there:
        pytest.skip(f"bits are promised in the same environment only: {there}, here {here}")
    replay = Path(__file__).with_name("replay.py")
    done = subprocess.run(
        [sys.executable, str(replay), str(record), str(shared_data / "cifar10")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    first = json.loads((record.parent / "metrics.jsonl").read_text().splitlines()[0])
    names = ("train_loss", "train_top1_err", "test_loss", "test_top1_err")
    assert json.loads(done.stdout) == [first[name] for name in names]
