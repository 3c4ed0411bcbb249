"""Promises 22, 24: results depend on what was asked for, and not on where it was asked."""

from __future__ import annotations

from pathlib import Path

from ..mini import RESBENCH, changed, outputs, run_folders, suite_of, write_suite
from .running import ARL, EPOCHS, copy_of, epochs_in, prepare, ran, record_in, run_in

ODD = "a b %41 # \u00fc\u2603 'q' $x"


def test_odd_folders_and_another_working_directory_give_the_same_bits(
    unbroken: Path, tmp_path: Path
) -> None:
    folder = prepare(tmp_path / ODD)
    results = tmp_path / f"{ODD} results"
    command = (RESBENCH, "run", f"{ODD}/mini.yaml", "--results", f"{ODD} results")
    done = ran(tmp_path, *command, "--cell", "arl", "--no-mirror")
    assert done.returncode == 0, done.stderr
    assert outputs(results) == outputs(unbroken / "results")
    assert [path.name for path in folder.iterdir()] == ["mini.yaml"]


def test_a_changed_thread_count_is_refused_unless_accepted_and_then_noted(
    killed: Path, tmp_path: Path
) -> None:
    copy_of(killed, tmp_path)
    refused = ran(tmp_path, *ARL, "--threads", "2")
    assert refused.returncode == 1, refused.stderr
    assert "was begun in another environment (threads: 1 -> 2)" in refused.stderr
    assert "pass --accept-environment" in refused.stderr
    assert not run_in(tmp_path).record.exists()
    before = epochs_in(run_in(tmp_path))
    assert before == epochs_in(run_in(killed)), "nothing was lost"
    done = ran(tmp_path, *ARL, "--threads", "2", "--accept-environment")
    assert done.returncode == 0, done.stderr
    record = record_in(tmp_path)
    (note,) = record.environment.engine_notes
    assert note.endswith(": threads: 1 -> 2")
    assert record.environment.threads == 2
    assert epochs_in(run_in(tmp_path)) == list(range(1, EPOCHS + 1))


def test_an_edited_suite_trains_anew_and_keeps_the_old_record(
    unbroken: Path, tmp_path: Path
) -> None:
    old = outputs(copy_of(unbroken, tmp_path) / "results")
    record = run_in(tmp_path).record.read_bytes()
    again = ran(tmp_path, *ARL)
    assert "Nothing to do: 1 run recorded" in again.stderr
    edited = changed(suite_of(total=EPOCHS), {"base.training.optim.lr": 0.01})
    write_suite(tmp_path, edited)
    done = ran(tmp_path, *ARL)
    assert done.returncode == 0, done.stderr
    new = outputs(tmp_path / "results")
    assert len(run_folders(tmp_path / "results")) == 2
    assert {name: new[name] for name in old} == old
    assert run_in(tmp_path).record.read_bytes() == record
    metrics = {content for name, content in new.items() if name.endswith("metrics.jsonl")}
    assert len(metrics) == 2
