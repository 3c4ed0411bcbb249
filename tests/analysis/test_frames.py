"""Rows for CSV and frames for pandas: the same numbers, one value a field."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import resbench
from resbench.analysis.claims import judge_claims
from resbench.analysis.results import read_results
from resbench.analysis.rows import CLAIM_COLUMNS, RUN_COLUMNS
from resbench.analysis.tables import fill
from resbench.analysis.values import judge_values
from resbench.errors import EnvironmentFault, ResbenchError, UsageError
from resbench.store.predictions import write_predictions
from resbench.store.records import RunRecord, write_record
from resbench.suite.load import load_suite
from resbench.suite.metrics import METRICS

from ..cli.invoke import Shell
from ..factory import (
    JPEG,
    begin,
    diverge,
    finish_all,
    plant,
    predictions_of,
    record_of,
    suite_under,
    unfinished,
)

Runs = tuple[Path, list[RunRecord]]
TABLE, OTHER = "table1_arl_vs_nal", "table3_mask"
OWN = Path(__file__).parent / "suites" / "arms.yaml"
ARL, NAL = "attention-56/arl", "attention-56/nal"


@pytest.fixture
def results(tmp_path: Path) -> Runs:
    """Two runs of an ARL that stands in two tables, one of NAL, one that diverged, one started."""
    folder, table = tmp_path / "results", suite_under(TABLE, tier="cpu")
    runs = [plant(folder, table, ARL, seed, test=[50.0, 40.0 + seed]) for seed in (1, 2)]
    runs += [plant(folder, table, NAL, 1, test=[60.0, 50.0]), diverge(folder, table, NAL, 2)]
    begin(folder, table, NAL, 3)
    return folder, runs


def rows_of(shell: Shell, results: Path, kind: str, *suites: str) -> list[dict[str, str]]:
    done = shell("report", *suites, "--results", results, "--format", "csv", "--rows", kind)
    assert (done.code, done.err) == (0, "")
    return list(csv.DictReader(io.StringIO(done.out)))


def test_a_cell_whose_runs_all_diverged_is_not_one_that_was_not_run(tmp_path: Path) -> None:
    diverge(tmp_path, suite_under(TABLE, tier="cpu"), NAL, 1)
    cells = resbench.load(tmp_path, [TABLE]).cells.set_index("cell")
    assert cells.loc[NAL, "verdict"] == "diverged"
    assert cells.loc[ARL, "verdict"] == "not_run"


def test_the_columns_of_runs_have_the_order_of_the_metrics() -> None:
    shown = [name for name in RUN_COLUMNS if name in METRICS]
    assert shown == [name for name in METRICS if name in RUN_COLUMNS]


def test_a_run_has_a_row_in_each_cell_that_it_serves(results: Runs) -> None:
    folder, (first, *_) = results
    runs = resbench.load(folder).runs
    own = runs[runs["run"] == first.key[:16]]
    assert len(own) > 1
    cells = {*zip(own["suite"], own["cell"], strict=True)}
    assert cells >= {(TABLE, ARL), (OTHER, "encoder-decoder")}
    assert own["test_top1_err"].unique().tolist() == [41.0]
    assert own["model.learning"].unique().tolist() == ["arl"]
    assert runs["run"].nunique() == 4, "every finished run, and none that has only started"
    lost = runs[runs["status"] == "diverged"]
    assert lost["test_top1_err"].isna().all()
    assert lost["reason"].unique().tolist() == ["the loss is nan at step 7"]


def test_a_run_of_no_table_is_there_unless_suites_are_named(shell: Shell, results: Runs) -> None:
    folder, _ = results
    stray = plant(folder, suite_under(str(OWN)), ARL, 1, test=[9.0])
    every = resbench.load(folder).runs
    rows = every[every["run"] == stray.key[:16]]
    assert rows["test_top1_err"].tolist() == [9.0]
    assert rows[["suite", "setting", "cell"]].isna().all(axis=None)
    own = resbench.load(folder, str(OWN)).runs
    assert own[["suite", "cell", "run"]].values.tolist() == [["arms", ARL, stray.key[:16]]]
    named = resbench.load(folder, [OTHER]).runs
    assert stray.key[:16] not in set(named["run"])
    assert set(named["suite"]) == {OTHER}
    for suites in ((), (OTHER,)):
        told = rows_of(shell, folder, "runs", *suites)
        assert (stray.key[:16] in {row["run"] for row in told}) == (suites == ())


def test_cells_hold_what_the_report_says_of_them(results: Runs) -> None:
    folder, _ = results
    cells = resbench.load(folder, TABLE).cells
    own = cells[(cells["cell"] == ARL) & (cells["n"] > 0)].iloc[0]
    assert (own["n"], own["mean"]) == (2, 41.5)
    assert own["sd"] == pytest.approx(0.5**0.5, abs=1e-6)
    assert own["published"] == pytest.approx(own["mean"] - own["difference"])
    assert cells["published"].dtype == float


def test_what_is_published_as_text_stays_next_to_its_verdict(shell: Shell, tmp_path: Path) -> None:
    table = "table5_architecture"
    cells = resbench.load(tmp_path, table).cells
    texts = cells[cells["published"].isna() & cells["verdict"].isin(["equal", "differs"])]
    assert len(texts) > 3
    assert texts["published_text"].notna().all()
    numbers = cells[cells["published"].notna()]
    assert numbers["published"].tolist() == numbers["published_text"].map(float).tolist()
    rows = rows_of(shell, tmp_path, "cells", table)
    told = cells["published_text"].fillna("").tolist()
    assert [row["published_text"] for row in rows] == told


@pytest.mark.parametrize(("kind", "suite"), [("runs", TABLE), ("claims", "table5_architecture")])
def test_csv_without_rows_has_its_header(
    shell: Shell, tmp_path: Path, kind: str, suite: str
) -> None:
    assert load_suite("table5_architecture").suite.claims == ()
    assert not resbench.load(tmp_path, suite).runs.size
    done = shell(f"report {suite} --format csv --rows {kind}")
    assert done.out.splitlines() == [",".join(getattr(resbench.load(tmp_path, suite), kind))]


def test_a_suite_with_a_setting_of_its_own_is_at_no_tier(tmp_path: Path) -> None:
    ladder = suite_under("ladder")
    plant(tmp_path, ladder, ladder.cells[0].id, 1, test=[60.0])
    plant(tmp_path, suite_under(TABLE, tier="cpu"), ARL, 1, test=[50.0])
    found = resbench.load(tmp_path, ["ladder", TABLE])
    for frame in (found.runs, found.cells):
        tiers = frame[["suite", "tier"]].drop_duplicates().values.tolist()
        assert sorted(tiers) == [["ladder", "own"], [TABLE, "cpu"]]


def test_epochs_and_predictions_are_those_of_the_runs(results: Runs) -> None:
    folder, (first, second, *_) = results
    found = resbench.load(folder)
    epochs = found.epochs.set_index(["run", "epoch"])
    assert epochs.loc[(first.key[:16], 1), "test_top1_err"] == 50.0
    assert epochs.loc[(first.key[:16], 2), "duration_s"] == 60
    images = found.predictions(second.key[:16])
    assert 100 * (images["pred"] != images["label"]).mean() == pytest.approx(42.0)
    assert len(found.predictions()) == 3 * len(images), "a diverged run has none"
    with pytest.raises(UsageError, match=r"run 'ffff': .* has no predictions of such a run"):
        found.predictions("ffff")


def test_predictions_are_of_the_images_and_classes_that_the_file_names(tmp_path: Path) -> None:
    run, made = unfinished(tmp_path), predictions_of(0)
    index = np.arange(len(made.label), dtype=np.int32) * 3 + 1  # every third image
    made = replace(made, index=index)
    write_predictions(run.predictions, made)
    write_record(run, record_of(run, 0))
    images = resbench.load(tmp_path).predictions(run.path.name)
    assert images["image"].tolist() == index.tolist()
    assert images["label"].tolist() == made.label.tolist()
    assert images["pred"].tolist() == made.pred.tolist()


def test_frames_are_of_the_folder_that_was_named_wherever_the_work_goes_on(
    results: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, (first, *_) = results
    monkeypatch.chdir(folder.parent)
    found = resbench.load(folder.name)
    monkeypatch.chdir(folder)
    assert first.key[:16] in set(found.epochs["run"])


def test_claims_have_a_row_each(results: Runs) -> None:
    folder, _ = results
    claims = resbench.load(folder, TABLE).claims
    declared = [(claim.id, claim.text) for claim in load_suite(TABLE).suite.claims]
    assert [*zip(claims["claim"], claims["text"], strict=True)] == declared
    (judged,) = claims[claims["n"] > 0].to_dict("records")
    assert judged["claim"] == "arl-beats-nal-56"
    assert judged["effect"] == pytest.approx((50.0 + 90.0) / 2 - (41.0 + 42.0) / 2), "90: guessing"


def test_what_a_number_really_is_and_of_which_data_stands_beside_it(tmp_path: Path) -> None:
    for data, error in (({}, 5.0), ({"cifar10": JPEG}, 9.0)):
        plant(tmp_path, suite_under(str(OWN), data=data), ARL, 1, test=[error])
    found = resbench.load(tmp_path, str(OWN))
    runs = found.runs.set_index("test_top1_err")
    assert runs["data_is_published"].to_dict() == {5.0: True, 9.0: False}
    cells = found.cells[found.cells["cell"] == NAL].to_dict("records")
    assert {(row["published_as"], row["published_is"]) for row in cells} == {("test", "train_aug")}


def test_every_number_stands_in_the_column_of_its_name(tmp_path: Path) -> None:
    suite = suite_under(TABLE)
    finish_all(tmp_path, suite, {ARL: (5.0, 5.2, 5.3, 5.1), NAL: (9.6, 9.5, 9.9)})
    diverge(tmp_path, suite, NAL, 4)
    (table,) = fill(load_suite(TABLE), read_results(tmp_path))
    found, claim = resbench.load(tmp_path, TABLE), judge_claims(table)[0]
    value = next(value for value in judge_values(table) if value.cell == ARL and value.number)
    claimed = {
        **dict.fromkeys(("published", "effect", "se"), "_pp"),
        **dict.fromkeys(("superiority", "df", "n", "look"), ""),
        **dict.fromkeys((name for name in CLAIM_COLUMNS if name[:2] in ("p", "p_")), ""),
    }
    row = found.claims.iloc[0]
    for name, unit in claimed.items():
        assert row[name] == pytest.approx(getattr(claim, name + unit), abs=1e-6), name
    ends = row["interval_95_low"], row["interval_95_high"]
    assert ends == pytest.approx(claim.interval, abs=1e-6)
    assert (row["diverged"], row["diverged_later"]) == (0, 1)
    assert row["p"] < row["p_adjusted"] < row["p_smaller"] < 1
    row = found.cells[found.cells["cell"] == ARL].iloc[0]
    for name in ("mean", "sd", "difference", "look", "planned", "p_within", "p_differs"):
        assert row[name] == pytest.approx(getattr(value, name), abs=1e-6), name
    ends = row["prediction_interval_95_low"], row["prediction_interval_95_high"]
    assert ends == pytest.approx(value.interval, abs=1e-6)
    row, run = found.runs.iloc[0], table.records[0]
    for part, name in (("timing", "train_s"), ("timing", "total_s"), ("timing", "images_per_s"),
                       ("model", "parameters"), ("model", "macs"), ("data", "train_images"),
                       ("data", "test_images"), ("environment", "torch")):  # fmt: skip
        assert row[name] == getattr(getattr(run, part), name)


@pytest.mark.parametrize("kind", ["runs", "cells", "claims"])
def test_a_field_of_csv_holds_one_value_and_is_what_pandas_has(
    shell: Shell, results: Runs, kind: str
) -> None:
    folder, _ = results
    rows = rows_of(shell, folder, kind, TABLE)
    frame: pd.DataFrame = getattr(resbench.load(folder, TABLE), kind)
    assert len(rows) == len(frame)
    assert list(rows[0]) == list(frame.columns)
    fixed = {"runs": RUN_COLUMNS, "claims": CLAIM_COLUMNS}.get(kind, ())
    assert [name for name in frame.columns if name in fixed] == list(fixed)
    numbers = [name for name in map(str, frame.columns) if frame[name].dtype.kind in "if"]
    assert len(numbers) >= 5
    for row, expected in zip(rows, frame.to_dict("records"), strict=True):
        assert "±" not in "".join(row.values())
        for name in numbers:
            value = float(row[name] or "nan")
            assert value == pytest.approx(expected[name], nan_ok=True), name


def test_mistakes_are_said_in_one_line(shell: Shell, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="nowhere: no such results folder"):
        resbench.load(tmp_path / "nowhere")
    with pytest.raises(ResbenchError, match="unknown suite 'table99'"):
        _ = resbench.load(tmp_path, "table99").cells
    done = shell("report --rows runs")
    assert (done.code, done.err) == (2, "--rows runs: only csv has rows. Add --format csv.\n")
    (tmp_path / "things").touch()
    with pytest.raises(EnvironmentFault, match=f"{tmp_path}: not a results folder"):
        resbench.load(tmp_path)


def test_an_empty_folder_gives_empty_frames(tmp_path: Path) -> None:
    found = resbench.load(tmp_path)
    assert found.runs.empty
    assert found.epochs.empty
    assert found.predictions().empty
    assert found.runs.query("status == 'done'").drop_duplicates("run").empty
    assert found.epochs.merge(found.runs[["run", "seed"]], on="run").empty
    assert list(found.predictions()) == ["run", "image", "label", "pred", "prob_true"]
    assert resbench.load(tmp_path, "ladder").claims.query("n > 0").empty
    assert not found.cells.empty, "the published numbers are there"
