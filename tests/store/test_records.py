from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from resbench.errors import EnvironmentFault
from resbench.store.atomic import dump_json
from resbench.store.layout import RunFolder
from resbench.store.metrics import EpochMetrics, read_epochs
from resbench.store.predictions import error_from_predictions, write_predictions
from resbench.store.records import (
    RunRecord,
    read_record,
    read_spec,
    read_weights,
    write_record,
    write_spec,
)
from resbench.store.scan import scan
from resbench.store.state import Status, write_state
from resbench.store.verify import verify_run
from resbench.suite.spec import NUMERICS, key_of

from ..factory import (
    SMALL_IMAGES,
    complete,
    completed,
    context_of,
    folder_of,
    predictions_of,
    record_of,
    spec_of,
    unfinished,
)

Forgery = Callable[[dict[str, Any]], object]


def fields_of(run: RunFolder) -> dict[str, Any]:
    return json.loads(run.record.read_text())


def forge(run: RunFolder, edit: Forgery = lambda _: None) -> None:
    """Edit a record so that its hash fits, as a careful forger would."""
    fields = fields_of(run)
    del fields["record_hash"]
    edit(fields)
    digest = hashlib.sha256(dump_json(fields, sort_keys=True).encode()).hexdigest()
    run.record.write_text(json.dumps({**fields, "record_hash": digest}))


def diverged(run: RunFolder, **wrong: Any) -> RunRecord:
    """The record of a run that diverged after its second epoch."""
    base, rows = record_of(run, 0), read_epochs(run.metrics, EpochMetrics)[:2]
    best = min(rows, key=lambda row: row.test_top1_err)
    known = {"epoch": 2, "step": rows[1].step, "best_epoch": best.epoch,
             "best_test_top1_err": best.test_top1_err}  # fmt: skip
    nothing = dict.fromkeys(base.result.__struct_fields__, None)
    result = structs.replace(base.result, **(nothing | known))
    facts = {"status": "diverged", "result": result, "reason": "loss is NaN at step 27"}
    return structs.replace(base, **(facts | wrong))


def test_record_comes_back_as_written(tmp_path: Path) -> None:
    run = unfinished(tmp_path)
    written = complete(run)
    assert read_record(run) == written
    assert set(written.files) == {"spec.json", "metrics.jsonl", "predictions.npz"}
    assert written.numerics == NUMERICS
    assert written.seeds["order"] == 2**62 + 1
    assert verify_run(run) == ()


def test_spec_is_written_first_and_keeps_its_first_context(tmp_path: Path) -> None:
    run = unfinished(tmp_path, epochs=0)
    write_spec(run, spec_of(0), {"suite": "another"})
    started = read_spec(run)
    assert started is not None
    assert started["context"] == context_of()
    assert (started["key"], started["spec"]) == (run.key, spec_of(0))


@pytest.mark.parametrize("name", ["metrics", "predictions"])
def test_record_is_not_written_before_its_files(tmp_path: Path, name: str) -> None:
    run = completed(tmp_path)
    run.record.unlink()
    record = record_of(run, 0)
    getattr(run, name).unlink()
    with pytest.raises(ValueError, match="missing"):
        write_record(run, record)
    assert not run.record.exists()


def test_record_of_another_run_is_not_written(tmp_path: Path) -> None:
    one, other = completed(tmp_path, 0), completed(tmp_path, 1)
    before = other.record.read_bytes()
    with pytest.raises(EnvironmentFault, match="belongs to run"):
        write_record(other, read_record(one))
    assert other.record.read_bytes() == before


def test_diverged_run_holds_no_number_and_its_reason(tmp_path: Path) -> None:
    run = unfinished(tmp_path, epochs=2)
    write_record(run, diverged(run))
    assert read_record(run).result.test_top1_err is None
    assert "NaN" not in run.record.read_text().replace("loss is NaN", "")
    assert verify_run(run) == ()
    for wrong in ({"reason": None}, {"status": "done"}, {"status": "done", "reason": None}):
        with pytest.raises(ValueError, match=r"needs its reason|has every result"):
            write_record(run, diverged(run, **wrong))


def test_the_record_of_a_diverged_run_names_its_specification_too(tmp_path: Path) -> None:
    run = unfinished(tmp_path, epochs=2)
    write_record(run, diverged(run))
    forge(run, lambda fields: fields["files"].pop("spec.json"))
    with pytest.raises(EnvironmentFault, match=r"spec\.json is missing from it"):
        read_record(run)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_number_that_is_not_finite_makes_no_record(tmp_path: Path, number: float) -> None:
    run = unfinished(tmp_path)
    record = record_of(run, 0)
    result = structs.replace(record.result, test_loss=number)
    for fields in ({"result": result}, {"context": {"x": number}}):
        with pytest.raises(ValueError, match="JSON"):
            write_record(run, structs.replace(record, **fields))
    assert not run.record.exists()


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in items:
        if isinstance(inner, dict | list) and inner:
            yield from leaves(inner, (*path, name))
        else:
            yield (*path, name)


def test_every_edit_of_a_record_is_noticed(tmp_path: Path) -> None:
    run = completed(tmp_path)
    original = fields_of(run)
    paths = list(leaves(original))
    assert len(paths) > 50
    for path in paths:
        edited = json.loads(json.dumps(original))
        inner = edited
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = "edited" if inner[path[-1]] != "edited" else "again"
        run.record.write_text(json.dumps(edited))
        with pytest.raises(EnvironmentFault, match=r"record\.json: refused, .* record_hash"):
            read_record(run)
        del inner[path[-1]]
        run.record.write_text(json.dumps(edited))
        with pytest.raises(EnvironmentFault, match=r"record\.json: refused"):
            read_record(run)
    run.record.write_text(json.dumps(original))  # control: other white space, same content
    read_record(run)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda f: f["spec"].update(seed=9), "key is not the key of its specification"),
        (lambda f: f.update(numerics=9), "key is not the key of its specification"),
        (lambda f: f.update(key="0" * 64), "key is not the key of its specification"),
        (lambda f: f.update(spec=spec_of(9), key=key_of(spec_of(9))), "was it copied"),
        (lambda f: f["spec"].pop("tier"), "missing required field `tier`"),
        (lambda f: f["spec"].update(seed="9"), r"seed: Expected `int`"),
        (lambda f: f["spec"].update(data="cifar10"), r"data: Expected `object`"),
        (lambda f: f["timing"].update(started="yesterday"), r"timing: .*yesterday"),
        (lambda f: f["timing"].update(started="2026-01-01"), r"timing: started is no time"),
        (lambda f: f["timing"].update(started="0001-01-01T00:00:00+00:00"), "is no time in UTC"),
        (lambda f: f.update(extra=1), "unknown field `extra`"),
        (lambda f: f.update(format=2), "format: "),
        (lambda f: f.update(status="great"), "status: "),
        (lambda f: f["result"].update(test_top1_err="5"), r"result\.test_top1_err: "),
        (lambda f: f["result"].update(test_top1_err=None), "has every result"),
        (lambda f: f["result"].update(test_top1_err=-1.0), r"result\.test_top1_err: "),
        (lambda f: f["files"].pop("predictions.npz"), r"predictions\.npz is missing from it"),
        (lambda f: f["files"].update({"../x": "0" * 64}), "files"),
    ],
)
def test_forged_record_with_a_fitting_hash_is_named(
    tmp_path: Path, edit: Forgery, said: str
) -> None:
    run = completed(tmp_path)
    forge(run)
    read_record(run)  # control: the forger's tool makes valid records
    forge(run, edit)
    with pytest.raises(EnvironmentFault, match=rf"record\.json: refused, .*{said}"):
        read_record(run)


@pytest.mark.parametrize("name", ["spec", "metrics", "predictions"])
def test_deleted_or_edited_file_next_to_a_record_is_named(tmp_path: Path, name: str) -> None:
    run = completed(tmp_path)
    path: Path = getattr(run, name)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(EnvironmentFault, match=rf"{path.name} next to it is not the file"):
        read_record(run)
    path.unlink()
    with pytest.raises(EnvironmentFault, match=rf"{path.name} next to it is missing"):
        read_record(run)


def test_weights_are_checked_where_they_are_and_may_be_left_out(tmp_path: Path) -> None:
    run = completed(tmp_path, weights=b"0123")
    record = read_record(run)
    assert read_weights(run, record) == b"0123"
    assert verify_run(run) == ()
    run.weights.write_bytes(b"0124")
    assert read_record(run) == record, "too large to be hashed by every scan"
    assert verify_run(run) == (
        f"{run.weights}: not the weights that were recorded. Restore the file, or remove it.",
    )
    run.weights.unlink()
    assert verify_run(run) == ()
    assert read_weights(run, record) is None


def test_weights_may_be_larger_than_any_other_file(tmp_path: Path) -> None:
    run = unfinished(tmp_path)
    run.weights.touch()
    os.truncate(run.weights, 65 << 20)
    weights = read_weights(run, complete(run))
    assert weights is not None
    assert len(weights) == 65 << 20


def test_a_file_next_to_a_record_without_weights_is_not_its_weights(tmp_path: Path) -> None:
    run = completed(tmp_path)
    run.weights.write_bytes(b"of another run")
    assert read_weights(run, read_record(run)) is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("record.json", b"", "the file is empty"),
        ("record.json", b"garbage", "not JSON from line 1 on"),
        ("record.json", b"\xff\xfe\xfa", "not JSON"),
        ("record.json", b"[]", "a JSON object is needed, not a list"),
        ("spec.json", b"", "the file is empty"),
        ("spec.json", b"{}", "it has no 'spec'"),
        ("spec.json", b'{"key": 1, "spec": {}, "numerics": 1}', "it has no 'context'"),
        ("spec.json", b'{"key": 1, "spec": [], "context": {}}', "a value in it has another type"),
        ("spec.json", b'{"key": 1, "spec": {}, "numerics": 1, "context": {}}', "."),
    ],
)
def test_damage_is_reported_in_plain_words(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    run = completed(tmp_path)
    (run.path / name).write_bytes(content)
    with pytest.raises(EnvironmentFault) as caught:
        read_record(run) if name == "record.json" else read_spec(run)
    text = str(caught.value)
    assert text.startswith(f"{run.path / name}: refused, ")
    assert said in text
    assert text.endswith(f". Restore it, or remove {run.path} to train this run again.")
    assert not re.search(r"Expecting|codec|NoneType|object is not|\?\.", text)


def test_copied_run_is_named(tmp_path: Path) -> None:
    run, other = completed(tmp_path, 0), folder_of(tmp_path, 1)
    shutil.copytree(run.path, other.path)
    for path, read in ((other.record, read_record), (other.spec, read_spec)):
        with pytest.raises(EnvironmentFault) as caught:
            read(other)
        assert str(caught.value) == (
            f"{path}: refused, it belongs to run {run.path.name}, not to this folder: was it "
            f"copied? Remove {other.path}, or rename it to {run.path.name} if there is no "
            "such folder."
        )


@pytest.mark.parametrize(
    ("name", "off", "said"),
    [
        ("test_top1_err", 0.005, "the predictions give"),  # less than one image of 10,000
        ("test_loss", 0.01, "the predictions give"),
        ("train_loss", 1e-9, "metrics.jsonl gives"),
        ("best_epoch", 1, "metrics.jsonl gives 1"),
        ("best_test_top1_err", -1e-9, "metrics.jsonl gives"),
        ("epoch", -1, "metrics.jsonl gives 3"),
    ],
)
def test_a_forged_number_that_is_a_little_off_is_found_by_recomputing(
    tmp_path: Path, name: str, off: float, said: str
) -> None:
    run = completed(tmp_path)
    value = fields_of(run)["result"][name] + off
    forge(run, lambda fields: fields["result"].update({name: value}))
    read_record(run)  # everything fits but the number
    assert any(f"{name} is {value} but {said}" in problem for problem in verify_run(run))


@pytest.mark.parametrize("more", [1, -1])
def test_wrong_number_of_images_is_found(tmp_path: Path, more: int) -> None:
    run = completed(tmp_path)
    forge(run, lambda fields: fields["data"].update(test_images=SMALL_IMAGES + more))
    (problem,) = verify_run(run)
    assert f"but {SMALL_IMAGES} are predicted" in problem


def test_diverged_run_with_an_epoch_too_many_is_found(tmp_path: Path) -> None:
    run = unfinished(tmp_path, epochs=3)
    write_record(run, diverged(run))
    assert f"{run.record}: epoch is 2 but metrics.jsonl gives 3." in verify_run(run)


@pytest.mark.parametrize("name", ["epoch", "step", "best_epoch", "best_test_top1_err"])
def test_a_number_of_a_diverged_run_that_its_epochs_do_not_give_is_found(
    tmp_path: Path, name: str
) -> None:
    run = unfinished(tmp_path, epochs=2)
    write_record(run, diverged(run))
    forge(run, lambda fields: fields["result"].update({name: fields["result"][name] + 1}))
    (problem,) = verify_run(run)
    assert f": {name} is " in problem


@pytest.mark.parametrize(("above", "refused"), [(1.0, False), (-1.0, True)])
def test_cut_probability_excuses_a_loss_above_the_recomputed_one_and_none_below(
    tmp_path: Path, above: float, refused: bool
) -> None:
    run = unfinished(tmp_path)
    predictions = predictions_of(0)
    predictions.prob_true[0] = 0
    write_predictions(run.predictions, predictions)
    write_record(run, record_of(run, 0))
    loss = error_from_predictions(predictions)[1] + above
    forge(run, lambda fields: fields["result"].update(test_loss=loss))
    assert any("the predictions give" in problem for problem in verify_run(run)) == refused


def test_scan_tells_finished_unfinished_and_bad_apart(tmp_path: Path) -> None:
    good = [completed(tmp_path, seed) for seed in range(3)]
    running, killed, bad = (unfinished(tmp_path, seed, epochs=1) for seed in (3, 4, 5))
    write_state(killed, Status.RUNNING, epoch=1)
    bad.record.write_text("{")
    RunFolder(tmp_path, "0" * 16).create()  # killed before spec.json
    found = scan(tmp_path)
    assert set(found.records) == {run.key for run in good}
    states = {run.key: run.state and run.state.status for run in found.incomplete}
    assert states == {running.key: None, killed.key: Status.INTERRUPTED, "0" * 16: None}
    (problem,) = found.problems
    assert problem.startswith(f"{bad.record}: refused, ")


def plant_pipe(run: RunFolder) -> None:
    run.record.unlink()
    os.mkfifo(run.record)


def plant_folder(run: RunFolder) -> None:
    run.record.unlink()
    run.record.mkdir()


def plant_link(run: RunFolder) -> None:
    run.path.rename(run.path.with_name(".elsewhere"))
    run.path.symlink_to(run.path.with_name(".elsewhere"))


def plant_file(run: RunFolder) -> None:
    shutil.rmtree(run.path)
    run.path.write_text("")


def plant_link_to_nothing(run: RunFolder) -> None:
    run.record.unlink()
    run.record.symlink_to("gone")


BAD: list[Callable[[RunFolder], object]] = [
    plant_link,
    plant_link_to_nothing,
    plant_file,
    lambda run: run.path.rename(run.path.with_name("copy\n\x1b[31mof it")),
    plant_pipe,
    plant_folder,
    lambda run: run.record.write_bytes(b""),
    lambda run: run.record.write_bytes(b"\xff" * 100),
    lambda run: run.record.write_bytes(b"[" * 200_000),
    lambda run: run.record.write_bytes(b'{"a":' * 200_000),
    lambda run: run.record.write_bytes(b"9" * 10_000),
    lambda run: run.record.write_bytes(b'{"record_hash": NaN}'),
    lambda run: run.record.write_bytes(b'{"record_hash": "\\ud800"}'),
    lambda run: os.truncate(run.record, 1 << 40),
    lambda run: run.predictions.unlink(),
]


@pytest.mark.parametrize("spoil", BAD)
def test_one_bad_run_is_one_line_and_hides_no_other(
    tmp_path: Path, spoil: Callable[[RunFolder], object]
) -> None:
    run, good = completed(tmp_path, 0), completed(tmp_path, 1)
    spoil(run)
    found = scan(tmp_path)
    assert set(found.records) == {good.key}
    (problem,) = found.problems
    assert problem.startswith(str(tmp_path))
    assert problem.isprintable()


def test_seeded_damage_of_a_record_never_escapes_as_another_error(tmp_path: Path) -> None:
    run = completed(tmp_path)
    whole = run.record.read_bytes()
    seeded = random.Random(25)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[seeded.randrange(len(whole))] ^= 1 << seeded.randrange(8)
        run.record.write_bytes(damaged)
        found = scan(tmp_path)
        if found.records:  # white space only
            assert json.loads(damaged) == json.loads(whole)
        assert len(found.records) + len(found.problems) == 1
        assert set(found.records) <= {run.key}
