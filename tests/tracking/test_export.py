"""The store can be dropped and rebuilt, is never wrong for long, and is shared without harm."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from resbench.errors import EnvironmentFault, UsageError
from resbench.store.layout import RunFolder
from resbench.store.metrics import rewind
from resbench.store.records import read_record, write_spec
from resbench.store.state import Status
from resbench.suite.load import suite_folder
from resbench.suite.spec import key_of
from resbench.tracking import facts
from resbench.tracking.export import MLFLOW_STATUS, Exported, Exporter, _make, _mlflow
from resbench.tracking.mirror import DIGEST, Mirror

from ..cli.invoke import Shell
from ..factory import CELL, EPOCHS, SUITE, complete, context_of, finish, spec_of, suite_under
from ..faults.storage_strike import refuse
from ..mini import changed, edited_suite, python, ran, wait_until
from .tables import NAME, Tables, finished, stopped, training, worked

Patch = pytest.MonkeyPatch
DONE = [(SUITE, NAME, "FINISHED")]
"""What MLflow has of a finished run of seed 0."""
SYNC = [sys.executable, "-m", "resbench", "sync", "--results"]


def sync(results: Path, wait_s: float = 60.0) -> Exported:
    return Exporter(results, wait_s).export()


def everything(tables: Tables) -> list[object]:
    """All that a reader of the store sees."""
    names = ("experiments", "experiment_tags", "runs", "tags", "params", "metrics")
    return [tables.query(f"SELECT * FROM {name} ORDER BY 1, 2, 3") for name in names]


def test_a_run_that_is_gone_before_it_was_written_whole_does_not_stay_running(
    results: Path, tables: Tables, monkeypatch: Patch
) -> None:
    def killed(*_: object) -> None:
        raise SystemExit

    run = finished(results)
    with monkeypatch.context() as patch:
        patch.setattr(Exporter, "_log", killed)
        with pytest.raises(SystemExit):
            sync(results)
    assert [status for *_, status in tables.runs()] == ["RUNNING"]
    shutil.rmtree(run.path)
    sync(results)
    assert [status for *_, status in tables.runs()] == ["KILLED"]


# -- what is exported -----------------------------------------------------------------------------


def test_the_store_holds_every_number_of_the_files(results: Path, tables: Tables) -> None:
    run = finished(results)
    assert sync(results).written == 1
    expected: dict[tuple[str, int], float] = {}
    for file in (run.metrics, run.timing):
        for row in map(json.loads, file.read_text().splitlines()):
            epoch = row.pop("epoch")
            expected |= {(n, epoch): v for n, v in row.items() if n not in ("step", "packed")}
    points = tables.points("key NOT LIKE '%_published'")
    found = {(name.partition("/")[2], step): value for name, step, value in points}
    assert found == pytest.approx(expected, rel=1e-6)
    assert len(found) == len(points)
    groups = {name.partition("/")[0] for name, *_ in points}
    assert groups == {"error", "loss", "schedule", "timing"}
    assert tables.runs() == DONE
    params = dict(tables.query("SELECT key, value FROM params"))
    assert params["training.optim.lr"] == "0.1"
    assert params["training.schedule.drops"] == '[{"at": 1.5, "factor": 0.1}]'
    assert params["size.parameters"] == "119000"
    copies = {path.name for path in (results / "mlartifacts").rglob("*.*")}
    assert copies == {"spec.json", "record.json", "predictions.npz", "worker.log"}


def test_a_run_of_more_points_than_one_request_takes_arrives_whole(
    results: Path, tables: Tables
) -> None:
    run, epochs = stopped(results, epochs=1), range(1, 151)
    for file in (run.metrics, run.timing):
        row = json.loads(file.read_text())
        file.write_text("".join(f"{json.dumps(row | {'epoch': epoch})}\n" for epoch in epochs))
    sync(results)
    points = tables.points("key NOT LIKE '%_published'")
    names = {name for name, *_ in points}
    assert [point[:2] for point in points] == list(product(sorted(names), epochs))
    assert len(points) > 1000


def test_a_network_with_many_options_of_any_name_arrives_whole(
    results: Path, tables: Tables
) -> None:
    options = {f"option{i}": i for i in range(120)} | {"a+b/../c": 7, "x" * 300: 8}
    spec = changed(spec_of(), {"model.options": options})
    run = RunFolder(results, key_of(spec))
    write_spec(run, spec, context_of())
    done = sync(results)
    assert (done.written, done.problems) == (1, ())
    params = dict(tables.query("SELECT key, value FROM params"))
    assert [params[f"model.options.option{i}"] for i in range(120)] == [*map(str, range(120))]
    assert params["model.options.a_b_.._c"] == "7"
    assert "8" in params.values()


def test_points_lie_where_training_was_and_a_run_lasts_as_long(
    results: Path, tables: Tables
) -> None:
    """In milliseconds; an epoch trains for 1.5 s and is evaluated for 0.1 s."""
    run = finished(results)
    sync(results)
    started = datetime.fromisoformat(read_record(run).timing.started).timestamp()
    lasted = tables.query("SELECT start_time, end_time - start_time FROM runs")
    assert lasted == [(1000 * started, 4800)]
    times = "SELECT m.timestamp - r.start_time FROM metrics m JOIN runs r USING (run_uuid) "
    assert tables.query(f"{times} WHERE key = 'loss/test_loss' ORDER BY step") == [
        (1600,), (3200,), (4800,),
    ]  # fmt: skip


def test_a_run_stands_next_to_the_published_value_of_its_cell(
    results: Path, tables: Tables
) -> None:
    finished(results)
    sync(results)
    [(name, _, value)] = tables.points("key LIKE '%_published'")
    assert (name, value) == ("error/test_top1_err_published", 5.52)
    [note] = tables.tags("mlflow.note.content")
    assert "published 5.52 %" in note
    assert f"**{CELL}** of `{SUITE}`, seed 0" in note
    assert "Setting: paper, jpeg75." in note
    assert tables.query("SELECT name FROM datasets") == [("jpeg75",)]


def test_the_published_value_is_that_of_the_suite_next_to_the_results(
    results: Path, tables: Tables
) -> None:
    finished(results)
    suite = suites_of_ones_own(results) / f"{SUITE}.yaml"
    text = suite.read_text()
    edited_suite(suite, SUITE, {'"5.52"': '"5.25"'})
    sync(results)
    assert [v for *_, v in tables.points("key LIKE '%_published'")] == [5.25]
    suite.write_text(text)
    assert sync(results).written == 1
    assert [v for *_, v in tables.points("key LIKE '%_published'")] == [5.52]
    suite.write_text("version: 9")
    assert sync(results).problems == ()
    assert tables.runs() == DONE


def test_sync_puts_the_report_of_a_suite_into_one_run_and_renews_it(
    results: Path, tables: Tables, shell: Shell
) -> None:
    def page() -> str:
        assert shell("sync --results", results).code == 0
        [path] = (results / "mlartifacts").rglob("report.html")
        return path.read_text()

    suite = suite_under(SUITE)
    finish(results, suite, CELL, 1, 5.5)
    first = page()
    [digest] = tables.query(f"SELECT value FROM tags WHERE key = '{DIGEST}' AND run_uuid IN "
                            "(SELECT run_uuid FROM runs WHERE name = 'report')")  # fmt: skip
    assert page() == first
    assert first.startswith("<!DOCTYPE html>")
    assert "1 run in 1 setting" in first
    finish(results, suite, CELL, 2, 5.6)
    assert "2 runs in 1 setting" in page()
    names = ["report", f"s1 {CELL}", f"s2 {CELL}"]
    assert tables.runs() == [(SUITE, name, "FINISHED") for name in names]
    assert digest[0] not in tables.tags(DIGEST)


def test_a_report_is_renewed_by_runs_that_were_trained_for_another_table(
    results: Path, shell: Shell
) -> None:
    def page() -> str:
        assert shell("sync --results", results).code == 0
        pages = (path.read_text() for path in (results / "mlartifacts").rglob("report.html"))
        return next(page for page in pages if "attention_type" in page)

    finish(results, suite_under("attention_type"), "channel", 1, 6.2)
    assert "1 run in 1 setting" in page()
    finish(results, suite_under("table1_arl_vs_nal"), "attention-56/arl", 1, 5.5)
    assert "2 runs in 1 setting" in page()


def suites_of_ones_own(results: Path) -> Path:
    """Copies of the shipped suites next to the results."""
    return Path(shutil.copytree(suite_folder(), results.parent / "suites"))


def test_a_report_is_renewed_where_a_claim_of_its_suite_was_edited(results: Path) -> None:
    suite, made = suites_of_ones_own(results) / f"{SUITE}.yaml", list[str]()

    def page(path: str) -> str:
        made.append(path)
        return "page"

    finished(results)
    for _ in range(2):
        Exporter(results, page=page).export()
    assert made == [str(suite)]
    edited_suite(suite, SUITE, {"text: ": "text: It is said that "})
    assert Exporter(results, page=page).export().written == 0, "the run is the same"
    assert made == [str(suite)] * 2


def test_a_suite_that_no_report_can_be_made_of_stops_no_other(
    results: Path, tables: Tables, shell: Shell
) -> None:
    finished(results, cells=((SUITE, CELL), ("table3_mask", "encoder-decoder")))
    suite = suites_of_ones_own(results) / f"{SUITE}.yaml"
    edited_suite(suite, SUITE, {"model.learning: nal": "model.learning: nall"})
    found = shell("sync --results", results)
    assert found.code == 1
    assert found.out.endswith("mlflow.db: 1 written, 0 unchanged, 1 not exported.\n")
    assert found.err.startswith(f"report of {SUITE}: {suite}:")
    assert found.err.count("\n") == 1
    assert ("table3_mask", "report", "FINISHED") in tables.runs()
    assert {status for *_, status in tables.runs()} == {"FINISHED"}


def test_an_experiment_names_its_source_and_has_a_view_that_mlflow_reads(
    results: Path, tables: Tables
) -> None:
    finished(results)
    sync(results)
    rows = dict(tables.query("SELECT key, value FROM experiment_tags"))
    assert "Wang et al. 2017, Table 3" in rows["mlflow.note.content"]
    assert "`resbench report`" in rows["mlflow.note.content"]
    view = json.loads(rows["mlflow.sharedViewState.resbench"])
    assert {name: type(value) for name, value in view.items()} == {
        "name": str, "createdAt": int, "state": str,
    }  # fmt: skip
    state, error = json.loads(view["state"]), "metrics.`error/test_top1_err"
    assert state["selectedColumns"][:2] == [f"{error}`", f"{error}_published`"]
    assert set(state["columnWidths"]) == set(state["columnOrder"]) == set(state["selectedColumns"])
    import mlflow

    chunks = Path(mlflow.__file__).parent.glob("server/js/build/static/js/*.js")
    scripts = "".join(chunk.read_text(errors="replace") for chunk in chunks)
    for word in ("mlflow.sharedViewState.", "viewStateShareKey", "createdAt", *state):
        assert word in scripts, f"this MLflow does not know {word}"


def test_a_run_that_serves_two_tables_is_in_both_experiments(results: Path, tables: Tables) -> None:
    cells = ((SUITE, CELL), ("depth", "attention-56"))
    finished(results, cells=cells)
    assert sync(results).written == 1
    assert tables.runs() == [("depth", "s0 attention-56", "FINISHED"), (SUITE, NAME, "FINISHED")]
    assert sync(results).unchanged == 1
    where = "key NOT LIKE '%_published' AND experiment_id = "
    counts = {len(tables.points(where + str(i))) for i in (1, 2)}
    assert len(counts) == 1
    assert counts != {0}


def test_hostile_text_in_a_record_arrives_as_harmless_text(results: Path, tables: Tables) -> None:
    labels = ["<script>alert(1)</script>", "a\nb\x1b[31m\0", "\ud800", "x" * 20_000, "'; DROP", "-"]
    for seed, label in enumerate(labels, start=1):
        stopped(results, seed, label=label)
    assert sync(results).problems == ()
    shown = tables.tags("resbench.data")
    assert len(shown) == len(labels)
    assert all(text.isprintable() and len(text) <= 5000 for text in shown)
    assert {labels[0], r"a\nb\x1b[31m\x00", r"\ud800", "'; DROP"} < set(shown)


# -- again ----------------------------------------------------------------------------------------


def test_exporting_twice_changes_nothing(results: Path, tables: Tables) -> None:
    for seed in (1, 2):
        finished(results, seed)
    stopped(results, seed=3, epochs=2)
    assert sync(results).written == 3
    before = everything(tables)
    again = sync(results)
    assert (again.written, again.unchanged) == (0, 3)
    assert everything(tables) == before


def test_where_nothing_has_changed_mlflow_is_not_even_imported(results: Path) -> None:
    finished(results)
    sync(results)
    code = (
        "import sys; from pathlib import Path; from resbench.tracking.export import Exporter\n"
        "report = Exporter(Path(sys.argv[1])).export()\n"
        "print(report.written, report.unchanged, 'mlflow' in sys.modules)"
    )
    for expected in ("0 1 False\n", "1 1 True\n"):
        assert python(results, code, str(results)) == expected
        if "False" in expected:
            stopped(results, seed=2)


def test_only_new_epochs_are_written(results: Path, tables: Tables, monkeypatch: Patch) -> None:
    from mlflow import MlflowClient

    written: list[set[int]] = []
    log = MlflowClient.log_batch

    def noted(client: MlflowClient, run: str, metrics: Any = (), **rest: Any) -> None:
        if metrics:
            written.append({metric.step for metric in metrics})
        log(client, run, metrics, **rest)

    monkeypatch.setattr(MlflowClient, "log_batch", noted)
    run = stopped(results, epochs=2)
    sync(results)
    worked(run, 3, 3)
    sync(results)
    assert written == [{0, 1, 2}, {3}]
    steps = [step for _, step, _ in tables.points("key = 'loss/test_loss'")]
    assert steps == [1, 2, 3]


def test_a_lost_digest_is_written_again_without_duplicates(results: Path, tables: Tables) -> None:
    finished(results)
    sync(results)
    before = tables.points()
    tables.query("DELETE FROM tags WHERE key IN ('resbench.digest', 'resbench.epochs')")
    assert sync(results).written == 1
    assert tables.points() == before
    assert len(tables.runs()) == 1


def test_runs_beyond_the_first_page_of_an_answer_are_found(
    results: Path, tables: Tables, monkeypatch: Patch
) -> None:
    from mlflow import MlflowClient

    search = MlflowClient.search_runs

    def one_at_a_time(client: MlflowClient, *given: Any, **named: Any) -> Any:
        return search(client, *given, **(named | {"max_results": 1}))

    monkeypatch.setattr(MlflowClient, "search_runs", one_at_a_time)
    for seed in (1, 2, 3):
        finished(results, seed)
    sync(results)
    tables.query("DELETE FROM tags WHERE key = 'resbench.digest'")
    assert sync(results).written == 3
    assert len(tables.runs()) == 3


def test_an_interrupted_run_that_resumes_stays_one_run(results: Path, tables: Tables) -> None:
    run = stopped(results, epochs=1)
    sync(results)
    assert tables.runs() == [(SUITE, NAME, "KILLED")]
    assert tables.tags("resbench.status") == ["interrupted"]
    [before] = tables.query("SELECT run_uuid FROM runs")
    worked(run, 2, EPOCHS)
    complete(run)
    sync(results)
    assert tables.query("SELECT run_uuid FROM runs") == [before]
    assert tables.runs() == DONE
    assert tables.tags("resbench.status") == ["done"]


def test_epochs_that_were_trained_again_replace_the_lost_ones(
    results: Path, tables: Tables
) -> None:
    run = stopped(results, epochs=3)
    sync(results)
    for path in (run.metrics, run.timing):
        rewind(path, 1)  # the last checkpoint was of epoch 1
    worked(run, 2, 2, seconds=7.0)
    sync(results)
    took = tables.points("key = 'timing/duration_s'")
    assert [(epoch, value) for _, epoch, value in took] == [(1, 1.5), (2, 7.0)]
    assert len(tables.runs()) == 1


def test_epochs_that_a_killed_export_had_written_are_replaced_when_they_are_trained_again(
    results: Path, tables: Tables, monkeypatch: Patch
) -> None:
    from mlflow import MlflowClient

    run, log = stopped(results, epochs=1), MlflowClient.log_batch
    sync(results)
    worked(run, 2, 2)

    def killed(*given: Any, **named: Any) -> None:
        log(*given, **named)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", killed)
        with pytest.raises(SystemExit):
            sync(results)
    for path in (run.metrics, run.timing):
        rewind(path, 1)
    worked(run, 2, 2, seconds=7.0)
    sync(results)
    took = tables.points("key = 'timing/duration_s'")
    assert [(epoch, value) for _, epoch, value in took] == [(1, 1.5), (2, 7.0)]


def test_a_run_in_training_is_running_until_its_process_ends(results: Path, tables: Tables) -> None:
    run, exporter = stopped(results, epochs=1), Exporter(results)
    with training(run):
        report = exporter.export()
        assert (report.written, report.running) == (1, 1)
        assert tables.runs() == [(SUITE, NAME, "RUNNING")]
    assert exporter.export().running == 0, "although no file has changed"
    assert tables.runs() == [(SUITE, NAME, "KILLED")]


def test_a_run_in_training_that_cannot_be_read_for_once_stays_running(
    results: Path, tables: Tables
) -> None:
    run = stopped(results, epochs=1)
    with training(run):
        sync(results)
        whole = run.timing.read_text()
        run.timing.write_text("no time\n")
        (problem,) = sync(results).problems
        assert str(run.timing) in problem
        assert tables.runs() == [(SUITE, NAME, "RUNNING")]
    sync(results)
    assert tables.runs() == [(SUITE, NAME, "KILLED")]
    run.timing.write_text(whole)
    assert sync(results).problems == ()


def test_a_file_that_gets_its_name_while_a_run_is_looked_at_is_no_problem(
    results: Path, monkeypatch: Patch
) -> None:
    run, scan = finished(results), os.scandir
    (run.path / ".tmp-half").touch()

    def scan_late(path: Path) -> list[os.DirEntry[str]]:
        entries = list(scan(path))
        (run.path / ".tmp-half").unlink()
        return entries

    monkeypatch.setattr("resbench.tracking.export.os.scandir", scan_late)
    exporter = Exporter(results)
    found = exporter._find()
    assert [facts.key for facts in found[0]] == [run.key]
    assert found[1:] == ([], set())


def test_a_run_whose_files_are_gone_does_not_stay_running(results: Path, tables: Tables) -> None:
    for seed in (1, 2):
        finished(results, seed)
    sync(results)
    tables.query("UPDATE runs SET status = 'RUNNING'")
    tables.query(
        "UPDATE tags SET value = 'another' WHERE key = 'resbench.folder' AND run_uuid = "
        "(SELECT run_uuid FROM runs WHERE name LIKE 's2%')"
    )
    shutil.rmtree(results / "runs")
    sync(results)
    assert [status for _, _, status in tables.runs()] == ["KILLED", "RUNNING"]


def test_a_run_finished_for_another_table_does_not_stay_running_in_the_first(
    results: Path, tables: Tables
) -> None:
    run = stopped(results, epochs=1, cells=[("table3_mask", "mixed")])
    with training(run):
        sync(results)
        assert tables.runs() == [("table3_mask", "s0 mixed", "RUNNING")]
        worked(run, 2, EPOCHS)
        complete(run)
    sync(results)
    assert tables.runs() == [*DONE, ("table3_mask", "s0 mixed", "KILLED")]


def test_an_export_that_had_to_wait_does_not_write_what_is_out_of_date(
    results: Path, tables: Tables, monkeypatch: Patch
) -> None:
    run, turn = stopped(results, epochs=1), Mirror.turn

    @contextmanager
    def late_turn(mirror: Mirror, wait_s: float) -> Iterator[None]:
        monkeypatch.setattr(Mirror, "turn", turn)
        trained.close()
        complete(run)
        sync(results)
        with turn(mirror, wait_s):
            yield

    with ExitStack() as trained:
        trained.enter_context(training(run))
        sync(results)
        worked(run, 2, EPOCHS)
        monkeypatch.setattr(Mirror, "turn", late_turn)
        sync(results)
    assert tables.runs() == DONE


def test_an_epoch_that_ends_while_a_run_is_read_is_written_once_and_whole(
    results: Path, tables: Tables, monkeypatch: Patch
) -> None:
    run, exporter, read = stopped(results, epochs=1), Exporter(results), facts.read_epochs

    def read_before_an_epoch(*arguments: Any) -> Any:
        rows = read(*arguments)
        monkeypatch.setattr(facts, "read_epochs", read)
        worked(run, 2, 2)
        return rows

    with training(run):
        monkeypatch.setattr(facts, "read_epochs", read_before_an_epoch)
        exporter.export()
        exporter.export()
    assert len(tables.points("key = 'timing/duration_s'")) == 2
    assert tables.query("SELECT lifecycle_stage FROM runs") == [("active",)]


# -- shared stores --------------------------------------------------------------------------------


def test_a_run_of_this_folder_that_was_cut_off_is_seen_next_to_one_of_another(
    results: Path, tables: Tables
) -> None:
    for seed in (1, 2):
        finished(results, seed)
    sync(results)
    mirror = Exporter(results).mirror
    tables.query("UPDATE runs SET status = 'RUNNING'")
    tables.query("UPDATE tags SET value = 'incomplete' WHERE key = 'resbench.digest'")
    for seed in (1, 2):
        tables.query(
            "UPDATE tags SET value = CASE (SELECT name FROM runs r WHERE r.run_uuid = "
            "tags.run_uuid) WHEN ? THEN ? ELSE 'another' END WHERE key = 'resbench.folder'",
            f"s{seed} {CELL}",
            mirror.folder,
        )
        assert mirror.held() == {"incomplete": True}


@pytest.fixture
def team(results: Path, monkeypatch: Patch) -> Path:
    """The database of a store for several folders."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{results / 'mlflow.db'}")
    return results / "mlflow.db"


def test_two_folders_with_other_numbers_for_one_key_are_told_apart(
    tmp_path: Path, team: Path
) -> None:
    finished(tmp_path / "a")
    other = stopped(tmp_path / "b", epochs=0)
    worked(other, 1, EPOCHS, seconds=2.5)
    complete(other, label="other")
    assert [sync(tmp_path / name).written for name in ("a", "b", "a", "b")] == [1, 1, 0, 0]
    tables = Tables(team)
    assert tables.runs() == DONE * 2
    assert {Path(text).name for text in tables.tags("resbench.results")} == {"a", "b"}
    view = dict(tables.query("SELECT key, value FROM experiment_tags"))
    assert "resbench.results" in view["mlflow.sharedViewState.resbench"]


def test_a_copy_of_a_folder_adds_no_run(tmp_path: Path, team: Path) -> None:
    finished(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    next((tmp_path / "b").rglob("worker.log")).unlink()  # as a pack does
    assert [sync(tmp_path / name).written for name in ("a", "b")] == [1, 0]
    assert len(Tables(team).runs()) == 1


@pytest.mark.parametrize("deleted", [False, True])
def test_a_strangers_experiment_of_the_same_name_is_left_alone(
    results: Path, tables: Tables, deleted: bool
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    strange = client.create_experiment(SUITE)
    if deleted:
        client.delete_experiment(strange)
    finished(results)
    assert [sync(results).written, sync(results).written] == [1, 0]
    assert tables.runs() == [(f"{SUITE} (resbench 1)", NAME, "FINISHED")]
    stage = "SELECT lifecycle_stage FROM experiments WHERE experiment_id = ?"
    assert tables.query(stage, strange) == [("deleted" if deleted else "active",)]
    assert set(Exporter(results).mirror.experiments()) == {SUITE}


def test_a_deleted_experiment_of_ours_comes_back(results: Path, tables: Tables) -> None:
    from mlflow import MlflowClient

    finished(results)
    sync(results)
    MlflowClient(f"sqlite:///{results / 'mlflow.db'}").delete_experiment("1")
    assert tables.runs() == []
    sync(results)
    assert tables.runs() == DONE


@pytest.mark.parametrize("group_writable", [True, False])
def test_a_store_is_the_groups_where_the_folder_is(tmp_path: Path, group_writable: bool) -> None:
    results = tmp_path / "results"
    finished(results)
    results.chmod(0o775 if group_writable else 0o755)
    before = os.umask(0o022)
    try:
        sync(results)
    finally:
        assert os.umask(before) == 0o022
    folders = [path for path in (results / "mlartifacts").rglob("*") if path.is_dir()]
    assert folders
    made = [results / "mlflow.db", results / "mlflow.db-lock", *folders]
    assert {bool(path.stat().st_mode & stat.S_IWGRP) for path in made} == {group_writable}


# -- what can go wrong ----------------------------------------------------------------------------


def test_a_forged_record_is_named_and_the_others_are_exported(
    results: Path, tables: Tables, shell: Shell
) -> None:
    forged = finished(results, seed=1)
    finished(results, seed=2)
    forged.record.write_text(forged.record.read_text().replace('"done"', '"diverged"'))
    found = shell("sync --results", results)
    assert found.code == 1
    assert found.out.endswith("mlflow.db: 1 written, 0 unchanged, 1 not exported.\n")
    (problem,) = found.err.splitlines()
    assert str(forged.record) in problem
    assert [name for _, name, _ in tables.runs()] == ["report", f"s2 {CELL}"]


def refusal(**code: int) -> Exception:
    return _mlflow().exceptions.MlflowException("not this one", **code)


def as_of_a_server(results: Path) -> Exporter:
    """A server cannot say what it holds, and has its files elsewhere."""
    exporter = Exporter(results, page=lambda _: "page")
    exporter.mirror = replace(exporter.mirror, database=None)
    return exporter


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("log_batch", lambda: refusal(error_code=1000)),
        ("log_artifact", lambda: ImportError("not this one: No module named 'boto3'")),
        ("log_artifact", lambda: OSError("not this one: 413")),
        ("log_artifact", lambda: refusal()),  # 500
    ],
)
def test_what_a_server_refuses_is_named_every_time_and_tried_once_by_each_export(
    results: Path, tables: Tables, monkeypatch: Patch, call: str,
    error: Callable[[], Exception],
) -> None:  # fmt: skip
    client, exporter = _mlflow().MlflowClient, as_of_a_server(results)
    monkeypatch.chdir(results)  # where a server of this test would put files
    finished(results, seed=1)
    taken, refused = exporter.export(), finished(results, seed=2)

    true = getattr(client, call)

    def say_no(client: Any, run_id: str, *rest: Any, **more: Any) -> None:
        if client.get_run(run_id).data.tags.get("resbench.key") == refused.key:
            raise error()
        true(client, run_id, *rest, **more)

    with monkeypatch.context() as refusing:
        refusing.setattr(client, call, say_no)
        finished(results, seed=3)
        tried = [exporter.export() for _ in range(3)]
        made = len(tables.runs())
    assert (taken.written, taken.problems) == (1, ())
    assert [(done.written, done.unchanged) for done in tried] == [(1, 1), (0, 2), (0, 2)]
    for done in tried:
        (problem,) = done.problems
        assert problem.startswith(f"run {refused.key[:16]}: MLflow refuses it: not this one")
    assert made == 4, "three runs and the page, none of them twice"
    later = as_of_a_server(results)
    mended = later.export(), later.export()
    assert [(done.written, done.problems) for done in mended] == [(1, ()), (0, ())]


def test_a_report_that_a_server_does_not_take_is_not_shown_as_running(
    results: Path, tables: Tables, monkeypatch: Patch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("413")

    monkeypatch.setattr(_mlflow().MlflowClient, "log_text", refuse)
    monkeypatch.chdir(results)  # where a server of this test would put files
    finished(results)
    done = as_of_a_server(results).export()
    assert (done.written, done.problems) == (1, (f"report of {SUITE}: MLflow refuses it: 413",))
    assert {status for *_, status in tables.runs()} == {"FINISHED"}


def test_any_folder_name_will_do(tmp_path: Path, empty_database: Path) -> None:
    folder = tmp_path / "with space" / "per%20cent%d" / "ha#sh" / "ünïcode"
    finished(folder)
    shutil.copy(empty_database, folder / "mlflow.db")
    assert [sync(folder).written, sync(folder).written] == [1, 0]
    assert Tables(folder / "mlflow.db").runs() == DONE
    assert len(list((folder / "mlartifacts").rglob("record.json"))) == 1


@pytest.mark.slow
def test_two_exports_at_once_from_nothing_make_no_duplicates(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        finished(tmp_path, seed)
    both = [subprocess.Popen([*SYNC, str(tmp_path)]) for _ in range(2)]
    assert [process.wait(240) for process in both] == [0, 0]
    tables = Tables(tmp_path / "mlflow.db")
    names = ["report", *(NAME.replace("s0", f"s{seed}") for seed in (1, 2, 3))]
    assert [name for _, name, _ in tables.runs()] == names
    assert len(tables.points()) == len(set(tables.query("SELECT run_uuid, key, step FROM metrics")))


KILLED_IN_A_MIGRATION = """
import os, signal, sys
from sqlalchemy import Engine, event
from resbench.cli.main import main

def strike(connection, cursor, statement, *rest):
    if "CREATE TABLE model_versions" in " ".join(statement.split()):
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "before_cursor_execute", strike)
main()
"""


@pytest.mark.slow
def test_a_kill_while_the_database_is_made_does_no_harm(tmp_path: Path) -> None:
    finished(tmp_path)

    def unfinished() -> list[Path]:
        return list(tmp_path.glob("mlflow.db-new*"))

    words = ("sync", "--results", str(tmp_path))
    done = ran(tmp_path, sys.executable, "-c", KILLED_IN_A_MIGRATION, *words)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    assert unfinished()
    assert sync(tmp_path).written == 1
    assert not unfinished()


def test_a_store_that_cannot_be_made_leaves_nothing_and_is_made_under_a_new_name(
    tmp_path: Path,
) -> None:
    names = []

    def client(uri: str) -> None:
        path = Path(uri.removeprefix("sqlite:///"))
        names.append(path.name)
        Path(f"{path}-journal").touch()
        if len(names) < 3:
            raise OSError("database or disk is full")

    for _ in range(2):
        with pytest.raises(OSError, match="disk is full"):
            _make(tmp_path / "mlflow.db", client)
        assert list(tmp_path.iterdir()) == []
    _make(tmp_path / "mlflow.db", client)
    assert len(set(names)) == 3
    assert (tmp_path / "mlflow.db").exists()


def test_a_kill_at_any_time_is_made_good(results: Path, tables: Tables) -> None:
    for seed in range(1, 5):
        finished(results, seed)
    for runs in (1, 3):
        with subprocess.Popen([*SYNC, str(results)]) as process:
            wait_until(lambda n=runs: len(tables.runs()) >= n, "runs")  # type: ignore[misc]
            process.kill()
    sync(results)
    assert tables.runs() == [(SUITE, f"s{seed} {CELL}", "FINISHED") for seed in range(1, 5)]
    points = tables.query(
        "SELECT run_uuid, key, step FROM metrics JOIN runs USING (run_uuid) "
        "WHERE lifecycle_stage = 'active'"
    )
    assert len(points) == len(set(points))
    assert sync(results).unchanged == 4


@pytest.mark.parametrize("step", [60, pytest.param(1, marks=pytest.mark.slow)])
def test_a_full_disk_is_one_line_and_the_next_export_completes(results: Path, step: int) -> None:
    template = results.parent / "template"
    whole = shutil.copytree(results, results.parent / "whole")
    for each in (results, whole):
        finished(each)
    sync(whole)
    template.mkdir()
    results.rename(template / "results")

    def incomplete(folder: Path) -> list[str]:
        problems = sync(folder / "results").problems
        found, expected = Tables(folder / "results" / "mlflow.db"), Tables(whole / "mlflow.db")
        same = (found.runs(), found.points()) == (expected.runs(), expected.points())
        return [*problems, *([] if same else [f"{found.runs()}"])]

    errors = [
        ("pwrite64", "ENOSPC", "database or disk is full"),  # as SQLite says it
        ("write", "ENOSPC", "No space left on device"),  # of artifacts
    ]
    refuse("sync", template, incomplete, errors, step)


def test_another_resbench_that_writes_is_waited_for_and_named(results: Path) -> None:
    finished(results)
    exporter = Exporter(results)
    with exporter.mirror.turn(0), pytest.raises(EnvironmentFault, match="another resbench writes"):
        sync(results, wait_s=0.1)
    assert sync(results, wait_s=0.1).written == 1


@pytest.mark.parametrize("revision", ["cc1f77228345", "ffffffffffff", None])
def test_a_database_of_another_mlflow_or_of_none_is_one_line_with_a_remedy_that_helps(
    results: Path, tables: Tables, revision: str | None
) -> None:
    finished(results)
    if revision is None:
        (results / "mlflow.db").write_bytes(b"not a database at all, but long enough" * 100)
    else:
        tables.query("UPDATE alembic_version SET version_num = ?", revision)
    with pytest.raises(EnvironmentFault, match=r"mlflow\.db: .+\. Nothing is lost") as caught:
        sync(results)
    assert f"remove {results}/mlflow.db and {results}/mlartifacts first." in str(caught.value)
    assert "\n" not in str(caught.value)
    (results / "mlflow.db").unlink()
    elsewhere = results.rename(results.parent / "again")  # MLflow keeps a removed file open
    assert sync(elsewhere).written == 1
    assert Tables(elsewhere / "mlflow.db").runs() == DONE


def test_a_database_of_several_folders_is_nobody_s_to_throw_away(
    tmp_path: Path, team: Path
) -> None:
    finished(tmp_path / "a")
    team.write_bytes(b"not a database at all, but long enough" * 100)
    with pytest.raises(EnvironmentFault, match=r"not a database\. Nothing is lost: ") as caught:
        sync(tmp_path / "a")
    assert "remove" not in str(caught.value)


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "mlruns", "sqlite://", "sqlite:///a?b=c"])
def test_a_store_that_is_not_supported_is_refused(
    results: Path, uri: str, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UsageError, match="sqlite:///FILE"):
        sync(results)


def test_only_a_finished_run_reads_as_finished() -> None:
    shown = {status: MLFLOW_STATUS.get(status, "FAILED") for status in Status}
    assert [status for status, text in shown.items() if text == "FINISHED"] == [Status.DONE]
    assert [status for status, text in shown.items() if text == "RUNNING"] == [Status.RUNNING]
