from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from resbench.analysis import SCHEMA
from resbench.analysis.declared import declared
from resbench.suite.expand import expand
from resbench.suite.load import load_suite, load_tier, suite_names
from tests import factory
from tests.cli.invoke import invoke
from tests.factory import JPEG, plant, suite_under
from tests.mini import changed, suite_of, write_suite

Capture = pytest.CaptureFixture[str]


def test_every_shipped_suite_is_reported_by_default_and_smoke_only_once_it_has_run(
    tmp_path: Path, capsys: Capture
) -> None:
    found = invoke(capsys, "report", "--results", tmp_path, "--format", "json")
    reported = {table["suite"] for table in json.loads(found.out)["tables"]}
    assert reported == set(suite_names()) - {"smoke"}
    smoke = suite_under("smoke")
    factory.finish(tmp_path, smoke, smoke.cells[0].id, 1, 5.0)
    found = invoke(capsys, "report", "--results", tmp_path, "--format", "json")
    assert "smoke" in {table["suite"] for table in json.loads(found.out)["tables"]}


@pytest.mark.parametrize("verb", ["report smoke", "status", "explain smoke mixed/arl"])
def test_a_run_that_no_training_set_can_feed_hides_no_other(
    tmp_path: Path, capsys: Capture, verb: str
) -> None:
    """As of an earlier version, which found it out in the worker."""
    smoke = suite_under("smoke")
    factory.finish(tmp_path, smoke, "mixed/arl", 1, 5.0)
    large = suite_under("smoke", overrides=(("training.batch_size", 4096),))
    factory.begin(tmp_path, large, "mixed/arl", 1)
    found = invoke(capsys, *verb.split(), "--results", tmp_path, "--format", "markdown")
    assert (found.code, found.err) == (0, "")
    assert "1 finished run" in found.out or "5.00" in found.out


def test_a_report_says_what_its_tables_leave_out(tmp_path: Path, capsys: Capture) -> None:
    """Unfinished runs, and those of a suite that has been edited since."""
    path = write_suite(tmp_path)
    results = tmp_path / "results"
    begun = declared(load_suite(str(path)))
    report = ("report", path, "--results", results)
    plant(results, begun, "arl", 1, test=[9.0])
    assert "none of its tables" not in invoke(capsys, *report).out
    write_suite(tmp_path, changed(suite_of(), {"base.training.batch_size": 32}))
    found = invoke(capsys, *report).out
    assert "1 finished run of a suite of this name in none of its tables" in " ".join(found.split())
    tiny = expand(begun.loaded, replace(begun.context, tier="tiny"), load_tier("tiny"))
    write_suite(tmp_path)
    factory.begin(tmp_path / "new", tiny, "arl", 1)
    found = invoke(capsys, "report", path, "--results", tmp_path / "new").out
    assert "1 unfinished run: `resbench status` lists them." in found


def test_with_nothing_run_a_named_suite_shows_what_is_published_and_says_not_run(
    tmp_path: Path, capsys: Capture
) -> None:
    found = invoke(capsys, "report", "smoke", "table3_mask", "--results", tmp_path)
    assert found.code == 0
    assert "6.48" in found.out
    assert "not run" in found.out
    assert "smoke: " in found.out


def test_the_format_follows_the_output_and_the_file_is_whole(
    tmp_path: Path, capsys: Capture
) -> None:
    for name in ("report.json", "report.csv", "report.md", "report.txt", "report.markdown"):
        path = tmp_path / "a folder" / name
        path.parent.mkdir(exist_ok=True)
        named = ("--format", "markdown") if path.suffix == ".markdown" else ()
        assert invoke(capsys, "report", "table3_mask", "--output", path, *named).out == ""
    assert json.loads((path.parent / "report.json").read_text())["schema"] == SCHEMA
    rows = list(csv.DictReader(io.StringIO((path.parent / "report.csv").read_text())))
    assert {row["row"] for row in rows} == {"local", "encoder-decoder", "local-same-units"}
    assert (path.parent / "report.md").read_text().startswith("# Replication report\n")
    assert path.read_text() == (path.parent / "report.md").read_text()
    assert "Replication report" in (path.parent / "report.txt").read_text()


def test_strict_is_exit_4_until_every_claim_is_confirmed(tmp_path: Path, capsys: Capture) -> None:
    strict = ("report", "table3_mask", "--strict", "--results", tmp_path)
    nothing = invoke(capsys, *strict)
    assert nothing.code == 4
    assert "encoder-decoder-beats-local: Not run" in nothing.err
    suite = suite_under("table3_mask")
    for seed, error in enumerate((5.0, 5.1, 5.3), 1):
        factory.finish(tmp_path, suite, "encoder-decoder", seed, error)
        factory.finish(tmp_path, suite, "local", seed, 9 + error / 5)
    found = invoke(capsys, *strict)
    assert (found.code, found.err) == (0, "")


def test_strict_looks_at_other_data_only_where_the_published_was_not_run(
    tmp_path: Path, capsys: Capture
) -> None:
    strict = ("report", "table3_mask", "--strict", "--results", tmp_path)
    other = suite_under("table3_mask", data={"cifar10": JPEG})
    for seed, error in enumerate((5.0, 5.1, 5.3), 1):
        factory.finish(tmp_path, other, "encoder-decoder", seed, error)
        factory.finish(tmp_path, other, "local", seed, 9 + error / 5)
    assert invoke(capsys, *strict).code == 0
    factory.finish(tmp_path, suite_under("table3_mask"), "local", 1, 6.0)
    found = invoke(capsys, *strict)
    assert found.code == 4
    assert "jpeg75" not in found.err


def test_refused_records_are_named_at_the_top_and_the_rest_is_reported(
    tmp_path: Path, capsys: Capture
) -> None:
    suite = suite_under("table3_mask")
    factory.finish(tmp_path, suite, "local", 1, 6.0)
    bad = factory.finish(tmp_path, suite, "local", 2, 6.5)
    path = tmp_path / "runs" / bad.key[:16] / "record.json"
    path.write_text(path.read_text().replace("6.5", "1.5"))
    found = invoke(capsys, "report", "table3_mask", "--results", tmp_path)
    assert found.code == 0
    assert found.out.index("edited or damaged") < found.out.index("table3_mask: ")
    assert "6.00 (1/3)" in found.out


def test_the_ledger_is_folded_below_the_first_table(tmp_path: Path, capsys: Capture) -> None:
    report = ("report", "table3_mask", "--results", tmp_path, "--format")
    assert "training.optim.momentum" in invoke(capsys, *report, "markdown").out
    shown = invoke(capsys, *report, "text").out
    assert "Ledger of every setting" in shown
    assert "training.optim.momentum" not in shown


def test_the_command_to_run_again_is_understood_by_run(tmp_path: Path, capsys: Capture) -> None:
    from resbench.cli.planning import parse_override, parse_seeds
    from resbench.cli.run import command as run

    overrides = (("training.optim.lr", 0.05), ("model.mask", "local"), ("data.first", None))
    suite = suite_under("table3_mask", data={"cifar10": JPEG}, tier="tiny", overrides=overrides)
    factory.finish(tmp_path, suite, "local", 1, 6.0)
    factory.begin(tmp_path, suite, "local", 9)
    found = invoke(capsys, "report", "table3_mask", "--results", tmp_path, "--format", "json")
    (table,) = json.loads(found.out)["tables"]
    words = table["command"].split()
    assert words[:2] == ["resbench", "run"]
    context = run.make_context("run", words[2:])
    assert context.params["suites"] == ("table3_mask",)
    assert context.params["tier"] == "tiny"
    assert tuple(map(parse_override, context.params["set_"])) == overrides
    assert 9 in parse_seeds(context.params["seeds"])
    assert (context.params["engine"], context.params["precision"]) == ("eager", "fp32")
    assert context.params["data"] == ("cifar10=FOLDER_OF_cifar10-jpeg75",)
