from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from resbench.analysis import SCHEMA
from resbench.suite.expand import Expanded
from resbench.suite.load import suite_names
from tests import factory
from tests.cli.invoke import Shell
from tests.factory import JPEG, plant, suite_under
from tests.mini import changed, suite_of, write_suite


def test_every_shipped_suite_is_reported_by_default_and_smoke_only_once_it_has_run_or_by_name(
    tmp_path: Path, shell: Shell
) -> None:
    def reported(*suites: str) -> set[str]:
        return {table["suite"] for table in shell.json("report", *suites)["tables"]}

    assert reported() == set(suite_names()) - {"smoke"}
    assert reported("smoke", "table3_mask") == {"smoke", "table3_mask"}
    smoke = suite_under("smoke")
    factory.finish(tmp_path, smoke, smoke.cells[0].id, 1, 5.0)
    assert reported() == set(suite_names())


@pytest.mark.parametrize("verb", ["report smoke", "status", "explain smoke mixed/arl"])
def test_a_run_that_no_training_set_can_feed_hides_no_other(
    tmp_path: Path, shell: Shell, verb: str
) -> None:
    """As of an earlier version, which found it out in the worker."""
    smoke = suite_under("smoke")
    factory.finish(tmp_path, smoke, "mixed/arl", 1, 5.0)
    large = suite_under("smoke", overrides=(("training.batch_size", 4096),))
    factory.begin(tmp_path, large, "mixed/arl", 1)
    found = shell(f"{verb} --format markdown")
    assert (found.code, found.err) == (0, "")
    assert "1 finished run" in found.out or "5.00" in found.out


def test_a_report_of_everything_begins_with_what_was_found_and_is_brief_on_a_terminal(
    tmp_path: Path, shell: Shell
) -> None:
    suite = suite_under("table3_mask", tier="cpu")
    for seed in (1, 2, 3):
        plant(tmp_path, suite, "local", seed, test=[40.0, 20 + seed / 10])
        plant(tmp_path, suite, "encoder-decoder", seed, test=[30.0, 10 + seed / 10])
    text, page = (shell("report", "--format", name).out for name in ("text", "markdown"))
    for shown in (text, page):
        before = " ".join(shown.partition("Suites")[0].split())
        assert "The sources make 33 claims, 1 with runs so far: " in before
        assert re.search(r"\+0\.96 \W*\+10\.00 ", before.replace("\xa0", " "))
    assert "resbench report SUITE" in " ".join(text.split())
    assert "at the end of training" not in text
    assert "Ledger of every setting" in page


def test_a_report_says_what_its_tables_leave_out(tmp_path: Path, shell: Shell) -> None:
    """Unfinished runs, and those of a suite that has been edited since."""
    path = write_suite(tmp_path)
    begun = suite_under(str(path))
    plant(tmp_path, begun, "arl", 1, test=[9.0])
    assert "none of its tables" not in shell("report", path).out
    write_suite(tmp_path, changed(suite_of(), {"base.training.batch_size": 32}))
    said = "1 finished run made for a suite of this name but in none of its tables"
    assert said in shell("report", path).words
    write_suite(tmp_path)
    factory.begin(tmp_path / "new", suite_under(str(path), tier="tiny"), "arl", 1)
    found = shell("report", path, "--results", tmp_path / "new").out
    assert "1 unfinished run: `resbench status` lists them." in found


def test_the_format_follows_the_output_and_the_file_is_whole(tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "runs").mkdir()
    for name in ("report.json", "report.csv", "report.md", "report.txt", "report.markdown"):
        path = tmp_path / "a folder" / name
        path.parent.mkdir(exist_ok=True)
        named = ("--format", "markdown") if path.suffix == ".markdown" else ()
        assert shell("report table3_mask --output", path, *named).out == ""
    assert json.loads((path.parent / "report.json").read_text())["schema"] == SCHEMA
    rows = list(csv.DictReader(io.StringIO((path.parent / "report.csv").read_text())))
    assert {row["row"] for row in rows} == {"local", "encoder-decoder", "local-same-units"}
    assert (path.parent / "report.md").read_text().startswith("# Replication report\n")
    assert path.read_text() == (path.parent / "report.md").read_text()
    assert "Replication report" in (path.parent / "report.txt").read_text()


def confirm(results: Path, suite: Expanded) -> None:
    """Runs of table 3 that decide its claim."""
    for seed, error in enumerate((5.0, 5.1, 5.3), 1):
        factory.finish(results, suite, "encoder-decoder", seed, error)
        factory.finish(results, suite, "local", seed, 9 + error / 5)


def test_strict_is_exit_4_until_every_claim_is_confirmed(tmp_path: Path, shell: Shell) -> None:
    nothing = shell("report table3_mask --strict")
    assert nothing.code == 4
    assert "encoder-decoder-beats-local: Not run" in nothing.err
    confirm(tmp_path, suite_under("table3_mask"))
    found = shell("report table3_mask --strict")
    assert (found.code, found.err) == (0, "")


def test_strict_looks_at_other_data_only_where_the_published_was_not_run(
    tmp_path: Path, shell: Shell
) -> None:
    confirm(tmp_path, suite_under("table3_mask", data={"cifar10": JPEG}))
    assert shell("report table3_mask --strict").code == 0
    factory.finish(tmp_path, suite_under("table3_mask"), "local", 1, 6.0)
    found = shell("report table3_mask --strict")
    assert found.code == 4
    assert "jpeg75" not in found.err


def test_refused_records_are_named_at_the_top_and_the_rest_is_reported(
    tmp_path: Path, shell: Shell
) -> None:
    suite = suite_under("table3_mask")
    factory.finish(tmp_path, suite, "local", 1, 6.0)
    bad = factory.finish(tmp_path, suite, "local", 2, 6.5)
    path = tmp_path / "runs" / bad.key[:16] / "record.json"
    path.write_text(path.read_text().replace("6.5", "1.5"))
    found = shell("report table3_mask")
    assert found.code == 0
    assert found.out.index("edited or damaged") < found.out.index("table3_mask: ")
    assert "6.00 (1/3)" in found.out


def test_the_command_to_run_again_is_understood_by_run(tmp_path: Path, shell: Shell) -> None:
    from resbench.cli.planning import parse_override, parse_seeds
    from resbench.cli.run import command as run

    overrides = (("training.optim.lr", 0.05), ("model.mask", "local"), ("data.first", None))
    suite = suite_under("table3_mask", data={"cifar10": JPEG}, tier="tiny", overrides=overrides)
    factory.finish(tmp_path, suite, "local", 1, 6.0)
    factory.begin(tmp_path, suite, "local", 9)
    (table,) = shell.json("report table3_mask")["tables"]
    words = table["command"].split()
    assert words[:2] == ["resbench", "run"]
    context = run.make_context("run", words[2:])
    assert context.params["suites"] == ("table3_mask",)
    assert context.params["tier"] == "tiny"
    assert tuple(map(parse_override, context.params["set_"])) == overrides
    assert 9 in parse_seeds(context.params["seeds"])
    assert (context.params["engine"], context.params["precision"]) == ("eager", "fp32")
    assert context.params["data"] == ("cifar10=FOLDER_OF_cifar10-jpeg75",)
