"""Promises 22, 24: results depend on what was asked for, and not on where it was asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from resbench.machine import cpu_model

from ..mini import RESBENCH, changed, outputs, python, ran, run_folders, write_suite
from ..tracking.tables import Tables
from .running import (
    ARL,
    EPOCHS,
    SUITE,
    assert_ends_as,
    copy_of,
    epochs_in,
    prepare,
    ran_well,
    record_in,
    run_in,
)

ODD = "a b %41 # \u00fc\u2603 'q' $x *?["


def test_odd_folders_and_another_working_directory_give_the_same_bits(
    unbroken: Path, tmp_path: Path
) -> None:
    folder = prepare(tmp_path / ODD)
    results = tmp_path / f"{ODD} results"
    command = (RESBENCH, "run", f"{ODD}/mini.yaml", "--results", f"{ODD} results")
    ran_well(tmp_path, *command, "--cell", "arl", "--no-mirror")
    assert outputs(results) == outputs(unbroken / "results")
    assert [path.name for path in folder.iterdir()] == ["mini.yaml"]


def test_an_edited_suite_trains_anew_and_keeps_the_old_record(
    unbroken: Path, tmp_path: Path
) -> None:
    old = outputs(copy_of(unbroken, tmp_path) / "results")
    record = run_in(tmp_path).record.read_bytes()
    again = ran(tmp_path, *ARL)
    assert "Nothing to do: 1 run recorded" in again.stderr
    edited = changed(SUITE, {"base.training.optim.lr": 0.01})
    write_suite(tmp_path, edited)
    ran_well(tmp_path, *ARL)
    new = outputs(tmp_path / "results")
    assert len(run_folders(tmp_path / "results")) == 2
    assert {name: new[name] for name in old} == old
    assert run_in(tmp_path).record.read_bytes() == record
    metrics = {content for name, content in new.items() if name.endswith("metrics.jsonl")}
    assert len(metrics) == 2


def test_other_kernels_on_the_same_processor_are_refused_unless_accepted_and_then_noted(
    killed: Path, unbroken: Path, tmp_path: Path
) -> None:
    before = record_in(unbroken).environment
    if before.cpu_capability == "DEFAULT" or before.onednn_isa is None:
        pytest.skip("this processor has one kind of kernels only")
    other = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    copy_of(killed, tmp_path)
    refused = ran(tmp_path, *ARL, **other)
    assert refused.returncode == 1, refused.stderr
    assert f"cpu_capability: {before.cpu_capability} -> DEFAULT" in refused.stderr
    assert f"onednn_isa: {before.onednn_isa} -> Intel SSE4.1" in refused.stderr
    assert "pass --accept-environment" in refused.stderr
    assert not run_in(tmp_path).record.exists()
    assert epochs_in(run_in(tmp_path)) == epochs_in(run_in(killed)), "nothing was lost"
    ran_well(tmp_path, *ARL, "--accept-environment", **other)
    after = record_in(tmp_path).environment
    assert after.cpu_capability == "DEFAULT"
    assert after.cpu_model == before.cpu_model == cpu_model()
    notes = " ".join(after.engine_notes)
    assert f"cpu_capability: {before.cpu_capability} -> DEFAULT" in notes
    assert "onednn_isa: " in notes
    assert epochs_in(run_in(tmp_path)) == list(range(1, EPOCHS + 1))


@pytest.mark.slow
def test_modules_in_the_working_directory_are_not_imported(unbroken: Path, tmp_path: Path) -> None:
    prepare(tmp_path)
    names = ("mlflow", "numpy", "random", "torch", "uvicorn", "queue")
    for name in names:
        (tmp_path / f"{name}.py").write_text("open('I_WAS_RUN', 'w')")
    mirrored = (word for word in ARL if word != "--no-mirror")
    assert_ends_as(unbroken, tmp_path, *mirrored)
    assert [status for *_, status in Tables(tmp_path / "results/mlflow.db").runs()] == ["FINISHED"]
    assert not (tmp_path / "I_WAS_RUN").exists()
    python(tmp_path, "import mlflow")
    assert (tmp_path / "I_WAS_RUN").exists(), "what would be imported otherwise"
