"""The mirror can be dropped and rebuilt, and is never wrong for long."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from resbench.errors import EnvironmentFault, UsageError
from resbench.store.locks import try_lock
from resbench.store.metrics import rewind
from resbench.tracking.sync import sync

from . import factory
from .conftest import without_uri
from .factory import CELL, CELLS, NAME, SUITE, Tables
from .session import eventually


def test_mirror_holds_every_number_of_the_files(results: Path, tables: Tables) -> None:
    run = factory.finished(results)
    assert sync(results).written == 1
    expected = []
    for section, file in (("metrics", run.metrics), ("timing", run.timing)):
        for row in map(json.loads, file.read_text().splitlines()):
            del row[{"metrics": "step", "timing": "packed"}[section]]
            epoch = row.pop("epoch")
            expected += [(f"{section}/{name}", epoch, value) for name, value in row.items()]
    result = json.loads(run.record.read_text())["result"]
    expected += [
        (f"result/{name}", 0, value)
        for name, value in result.items()
        if value is not None and name not in ("epoch", "step")
    ]
    expected += [("result/images_per_s", 0, 100.0), ("result/total_s", 0, 4.8)]
    assert tables.points() == sorted(expected)
    assert tables.runs() == [(SUITE, NAME, "FINISHED")]
    params = dict(tables.query("SELECT key, value FROM params"))
    assert params["training.optim.lr"] == "0.1"
    assert params["training.schedule.drops"] == '[{"at": 1.5, "factor": 0.1}]'
    assert params["size.parameters"] == "119000"
    copies = {path.name for path in (results / "mlartifacts").rglob("*.*")}
    assert copies == {"spec.json", "record.json", "predictions.npz", "worker.log"}


def test_mirroring_twice_adds_no_point_and_no_run(results: Path, tables: Tables) -> None:
    for seed in (1, 2):
        factory.finished(results, seed)
    factory.begin(results, seed=3, epochs=2)
    assert sync(results).written == 3
    before = tables.points(), tables.runs(), tables.query("SELECT * FROM tags ORDER BY 1, 2")
    again = sync(results)
    assert (again.written, again.unchanged) == (0, 3)
    after = tables.points(), tables.runs(), tables.query("SELECT * FROM tags ORDER BY 1, 2")
    assert after == before


def test_a_lost_version_is_written_again_without_duplicates(results: Path, tables: Tables) -> None:
    factory.finished(results)
    sync(results)
    before = tables.points()
    with closing(sqlite3.connect(results / "mlflow.db")) as opened:
        opened.execute("DELETE FROM tags WHERE key = 'resbench.mirrored'")
        opened.execute("DELETE FROM metrics WHERE key = 'metrics/test_loss' AND step = 2")
        opened.commit()
    assert len(tables.points()) == len(before) - 1
    assert sync(results).written == 1
    assert tables.points() == before
    assert len(tables.runs()) == 1


def test_a_run_that_serves_two_tables_is_in_both_experiments(results: Path, tables: Tables) -> None:
    cells = (*CELLS, ("depth", "attention-56"))
    factory.finished(results, cells=cells)
    sync(results)
    assert tables.runs() == [
        ("depth", "attention-56 seed 1", "FINISHED"),
        (SUITE, NAME, "FINISHED"),
    ]
    counts = {len(tables.points(f"experiment_id = {i}")) for i in (1, 2)}
    assert len(counts) == 1
    assert counts != {0}


def test_an_interrupted_run_that_goes_on_stays_one_run(results: Path, tables: Tables) -> None:
    run = factory.begin(results, epochs=1)
    sync(results)
    assert tables.runs() == [(SUITE, NAME, "KILLED")]
    assert tables.tags("resbench.status") == ["interrupted"]
    [before] = tables.query("SELECT run_uuid FROM runs")
    factory.train(run, 1, 2, factory.EPOCHS)
    factory.finish(run)
    sync(results)
    assert tables.query("SELECT run_uuid FROM runs") == [before]
    assert tables.runs() == [(SUITE, NAME, "FINISHED")]
    assert tables.tags("resbench.status") == ["done"]


def test_epochs_that_were_trained_again_replace_the_lost_ones(
    results: Path, tables: Tables
) -> None:
    run = factory.begin(results, epochs=3)
    sync(results)
    for path in (run.metrics, run.timing):
        rewind(path, 1)  # the last checkpoint was of epoch 1
    factory.train(run, 1, 2, 2, seconds=7.0)
    sync(results)
    assert tables.points("key = 'timing/duration_s'") == [
        ("timing/duration_s", 1, 1.5),
        ("timing/duration_s", 2, 7.0),
    ]
    assert len(tables.runs()) == 1


def test_a_run_in_training_is_left_to_its_session(results: Path, tables: Tables) -> None:
    run = factory.begin(results, epochs=1)
    lock = try_lock(run.path)
    assert lock is not None
    with lock:
        state = json.loads(run.state.read_text())
        run.state.write_text(json.dumps({**state, "status": "running"}))
        assert (sync(results).written, sync(results).running) == (0, 1)
    assert sync(results).written == 1
    assert tables.runs() == [(SUITE, NAME, "KILLED")]


def test_a_dead_run_whose_files_are_gone_does_not_stay_running(
    results: Path, tables: Tables
) -> None:
    for seed in (1, 2):
        factory.finished(results, seed)
    sync(results)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        keys = tables.query("SELECT run_uuid FROM runs ORDER BY name")
        with closing(sqlite3.connect(results / "mlflow.db")) as opened:
            opened.execute("UPDATE runs SET status = 'RUNNING'")
            for (key,), pid in zip(keys, (dead.pid, alive.pid), strict=True):
                pairs = {"resbench.host": socket.gethostname(), "resbench.pid": str(pid)}
                for name, value in pairs.items():
                    opened.execute("INSERT INTO tags VALUES (?, ?, ?)", (name, value, key))
            opened.commit()
        shutil.rmtree(results / "runs")
        assert sync(results).ended == 1
    assert [status for _, _, status in tables.runs()] == ["KILLED", "RUNNING"]


def test_a_deleted_experiment_comes_back(results: Path, tables: Tables) -> None:
    from mlflow import MlflowClient

    factory.finished(results)
    sync(results)
    MlflowClient(f"sqlite:///{results / 'mlflow.db'}").delete_experiment("1")
    assert tables.runs() == []
    sync(results)
    assert tables.runs() == [(SUITE, NAME, "FINISHED")]


def test_hostile_text_in_a_record_arrives_as_harmless_text(results: Path, tables: Tables) -> None:
    labels = ["<script>alert(1)</script>", "a\nb\x1b[31m\0", "\ud800", "x" * 20_000, "'; DROP", ""]
    for seed, label in enumerate(labels, start=1):
        factory.begin(results, seed, label=label)
    assert sync(results).problems == ()
    shown = tables.tags("resbench.data")
    assert len(shown) == len(labels)
    assert all(text.isprintable() and len(text) <= 5000 for text in shown)
    assert {labels[0], r"a\nb\x1b[31m\x00", r"\ud800", "'; DROP"} < set(shown)


def test_a_forged_record_is_named_and_the_others_are_mirrored(
    results: Path, tables: Tables
) -> None:
    forged = factory.finished(results, seed=1)
    factory.finished(results, seed=2)
    forged.record.write_text(forged.record.read_text().replace('"done"', '"diverged"'))
    report = sync(results)
    assert report.written == 1
    assert len(report.problems) == 1
    assert str(forged.record) in report.problems[0]
    assert [name for _, name, _ in tables.runs()] == [f"{CELL} seed 2"]


@pytest.mark.parametrize("name", ["with space", "per%20cent%d", "ha#sh", "ünïcode"])
def test_any_folder_name_will_do(tmp_path: Path, empty_database: Path, name: str) -> None:
    folder = tmp_path / name
    factory.finished(folder)
    shutil.copy(empty_database, folder / "mlflow.db")
    assert sync(folder).written == 1
    assert Tables(folder / "mlflow.db").runs() == [(SUITE, NAME, "FINISHED")]
    assert len(list((folder / "mlartifacts").rglob("record.json"))) == 1


def test_two_rebuilds_at_once_from_nothing_make_no_duplicates(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        factory.finished(tmp_path, seed)
    command = [sys.executable, "-m", "resbench.cli.main", "sync", "--results", str(tmp_path)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=without_uri())
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    tables = Tables(tmp_path / "mlflow.db")
    assert len(tables.runs()) == 3
    assert len(tables.points()) == len(set(tables.query("SELECT run_uuid, key, step FROM metrics")))


def test_a_kill_while_the_database_is_made_does_no_harm(tmp_path: Path) -> None:
    factory.finished(tmp_path)
    command = [sys.executable, "-m", "resbench.cli.main", "sync", "--results", str(tmp_path)]
    unfinished = tmp_path / "mlflow.db-new"
    with subprocess.Popen(command, env=without_uri()) as process:
        eventually(lambda: unfinished.exists() and unfinished.stat().st_size > 100_000)
        process.kill()
    assert not (tmp_path / "mlflow.db").exists()
    assert sync(tmp_path).written == 1
    assert not unfinished.exists()


def test_a_locked_database_is_one_line_and_nothing_is_lost(results: Path, tables: Tables) -> None:
    factory.finished(results)
    with closing(sqlite3.connect(results / "mlflow.db")) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        with pytest.raises(
            EnvironmentFault, match=r"mlflow\.db: database is locked\. Nothing is lost"
        ):
            sync(results)
        assert time.monotonic() - start < 5
        stranger.rollback()
    assert sync(results).written == 1


def test_a_database_that_is_none_is_one_line(results: Path) -> None:
    factory.finished(results)
    (results / "mlflow.db").write_bytes(b"not a database at all, but long enough" * 100)
    with pytest.raises(EnvironmentFault, match="file is not a database"):
        sync(results)


def test_a_server_that_is_not_there_is_one_line_without_its_password(results: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(EnvironmentFault) as caught:
        sync(results, f"http://me:secret@127.0.0.1:{port}")
    assert time.monotonic() - start < 5
    text = str(caught.value)
    assert "Connection refused" in text
    assert "secret" not in text
    assert "\n" not in text


def test_a_server_that_never_answers_is_given_up(results: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(EnvironmentFault, match="timed out"):
            sync(results, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "mlruns", "sqlite://", "sqlite:///a?b=c"])
def test_a_store_that_mlflow_no_longer_has_is_refused(results: Path, uri: str) -> None:
    with pytest.raises(UsageError, match="sqlite:///FILE"):
        sync(results, uri)
