"""The protocol ledger: every hyperparameter of every run says where it comes from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from resbench.analysis.declared import departures
from resbench.errors import UsageError
from resbench.suite.expand import DataChoice
from resbench.suite.load import load_suite, suite_names
from resbench.suite.provenance import UNMARKED, Entry, ledger

from .. import mini
from ..factory import suite_under


def entries(name: str, cell: str, **context: Any) -> dict[str, Entry]:
    made = suite_under(name, **context)
    return {entry.path: entry for entry in ledger(made, made.cell(cell))}


@pytest.mark.parametrize("name", suite_names())
def test_no_hyperparameter_of_any_run_lacks_its_mark(name: str) -> None:
    made = suite_under(name)
    for cell in made.cells:
        found = ledger(made, cell)
        leaves = dict(mini.leaves(cell.spec.canonical())) if cell.spec else {}
        assert {entry.path: entry.value for entry in found} == leaves
        assert len(found) == len(leaves)
        for entry in found:
            assert entry.reason != UNMARKED, f"{name} {cell.id} {entry.path}"
            assert entry.reason or entry.origin not in {"inferred", "deviation"}


def test_a_protocol_of_another_document_departs_from_the_table_s_own() -> None:
    borrowed = suite_under("resnet164_he2016")
    own = {e.path: e.origin for e in ledger(borrowed, borrowed.cells[0])}
    loaded = borrowed.loaded
    sources = load_suite("table1_arl_vs_nal").suite.sources
    foreign = replace(loaded, suite=structs.replace(loaded.suite, sources=sources))
    moved = {e.path: e for e in ledger(replace(borrowed, loaded=foreign), borrowed.cells[0])}
    assert own["training.batch_size"] == "paper"
    assert moved["training.batch_size"].origin == "deviation"
    assert "he2016" in (moved["training.batch_size"].reason or "")


def test_no_mark_is_about_nothing() -> None:
    marks, covered = set[tuple[object, str]](), set[tuple[object, str]]()
    for name in suite_names():
        made = suite_under(name)
        suite, protocol = made.loaded.suite, made.loaded.protocol
        if not suite.train:
            continue
        marks |= {(name, mark) for mark in suite.provenance}
        marks |= {(protocol.name, mark) for mark in protocol.provenance}
        for axis, levels in suite.matrix.items():
            for n, level in levels.items():
                marks |= {((name, axis, n), mark) for mark in level.provenance}
        for cell in made.cells:
            for entry in ledger(made, cell):
                layer = entry.layer.split()[0]
                file = {"suite": name, "matrix": name, "protocol": protocol.name}.get(layer)
                keys = entry.path.split(".")
                paths = [".".join(keys[:n]) for n in range(1, len(keys) + 1)]
                owners = [file, *((name, axis, level) for axis, level in cell.levels.items())]
                covered |= {(owner, path) for owner in owners for path in paths}
    assert marks - covered == set()


def test_the_longest_marked_path_decides() -> None:
    found = entries("table1_arl_vs_nal", "attention-56/arl")
    assert found["training.optim.lr"].origin == "paper"
    assert found["training.optim.decay"].origin == "inferred"
    assert found["model.mask"].origin == "paper"
    assert found["model.width"].origin == "inferred"


def test_the_mark_of_a_level_precedes_those_of_suite_and_protocol_in_its_cells_alone() -> None:
    resnet = entries("table2_depth", "resnet-164/cifar10")
    attention = entries("table2_depth", "attention-92/cifar10")
    for path in ("training.batch_size", "training.schedule.total", "training.schedule.warmup"):
        assert resnet[path].origin == "deviation", path
        assert attention[path].origin == "paper", path
    assert resnet["training.optim.lr"].origin == "paper"
    tier = entries("table2_depth", "resnet-164/cifar10", tier="tiny")
    assert tier["training.schedule.total"].place == "tier tiny"


@pytest.mark.parametrize("name", ["table2_depth", "depth"])
def test_a_baseline_at_another_protocol_than_its_own_is_never_called_replicated(name: str) -> None:
    made = suite_under(name)
    keeps = {cell.id: not departures(ledger(made, cell)) for cell in made.cells if cell.spec}
    assert {cell for cell, kept in keeps.items() if not kept} == {
        cell for cell in keeps if cell.startswith("resnet-")
    }


def test_a_mark_of_a_level_about_no_setting_is_refused_at_its_place(tmp_path: Path) -> None:
    suite = mini.suite_of()
    level = next(iter(next(iter(suite["matrix"].values())).values()))
    mark = {"origin": "paper", "place": "Table 3"}
    level["provenance"] = {"training.batchsize": mark}
    with pytest.raises(UsageError, match=r"unknown setting 'training\.batchsize'.*batch_size"):
        load_suite(str(mini.write_suite(tmp_path, suite)))


def test_what_the_command_line_sets_is_a_deviation() -> None:
    lr = "training.optim.lr"
    entry = entries("optimizer", "nesterov-sgd/lr-1e-4", overrides=((lr, 0.05),))[lr]
    assert (entry.origin, entry.place) == ("deviation", f"--set {lr}")


@pytest.mark.parametrize(
    ("name", "cell", "path", "mark"),
    [
        ("table4_noise", "noise-70/attention-92", "data.clean_ratio", ("paper", "Table 5")),
        ("table6_arl_vs_nal_report", "attention-92/nal", "model.learning", ("report", "Table 6")),
    ],
)
def test_an_axis_of_the_table_comes_from_the_tables_source(
    name: str, cell: str, path: str, mark: tuple[str, str]
) -> None:
    entry = entries(name, cell)[path]
    assert (entry.origin, entry.place) == mark


def test_an_axis_that_the_suite_marks_has_that_mark(tmp_path: Path) -> None:
    mark = {"origin": "deviation", "place": "mine", "reason": "of interest"}
    suite = mini.suite_of() | {"provenance": {"model.learning": mark}}
    entry = entries(str(mini.write_suite(tmp_path, suite)), "nal")["model.learning"]
    assert entry.layer == "matrix learning"
    assert (entry.origin, entry.place, entry.reason) == tuple(mark.values())


def test_every_value_that_a_tier_changes_is_a_deviation() -> None:
    cell = "attention-92/nal"
    paper = entries("table6_arl_vs_nal_report", cell)
    changed = entries("table6_arl_vs_nal_report", cell, tier="tiny")
    differing = {path for path, entry in changed.items() if entry.value != paper[path].value}
    assert len(differing) > 3
    for path in differing:
        assert changed[path].origin == "deviation", path
        assert changed[path].layer in {"tier tiny", "context"} or path == "seed"


JPEG = {"cifar10": DataChoice("cifar10", "cifar10-jpeg75", "sha256:1")}


@pytest.mark.parametrize(
    ("context", "path", "origin", "place"),
    [
        ({}, "data.id", "paper", "Table 4"),
        ({"data": JPEG}, "data.id", "deviation", "data cifar10-jpeg75"),
        ({}, "precision", "inferred", "not stated"),
        ({"precision": "bf16"}, "precision", "deviation", "precision bf16"),
        ({}, "engine", "deviation", "engine eager"),
        ({"engine": "graph"}, "engine", "deviation", "engine graph"),
    ],
)
def test_what_no_file_sets_has_its_mark(
    context: dict[str, Any], path: str, origin: str, place: str
) -> None:
    entry = entries("table3_mask", "local", **context)[path]
    assert (entry.origin, entry.place) == (origin, place)


def test_a_skipped_cell_has_no_hyperparameters() -> None:
    made = suite_under("depth")
    assert ledger(made, made.cell("wrn-28-10/cifar10")) == []


OWN = {
    "smith2024": {"title": "Smith et al. 2024", "origin": "report", "framework": "JAX",
                  "link": None},
}  # fmt: skip


def write(folder: Path, source: str, marks: Any, own: dict[str, Any] = OWN) -> str:
    """Write a suite of a source, with its own file of sources next to it."""
    suite = mini.suite_of() | {"provenance": marks}
    suite["sources"] = [{"key": source, "place": "Table 3"}]
    (folder / "sources.yaml").write_text(json.dumps({"version": 1, "sources": own}))
    return str(mini.write_suite(folder, suite))


def refused(*written: Any) -> str:
    with pytest.raises(UsageError) as error:
        load_suite(write(*written))
    return str(error.value)


def test_a_users_unmarked_setting_is_a_deviation_with_its_position_in_the_file(
    tmp_path: Path,
) -> None:
    data = {"origin": "deviation", "place": "mine", "reason": "available"}
    path = write(tmp_path, "wang2017", {"data": data})
    found = entries(path, "arl")
    assert found["data.name"].reason == "available"
    entry = found["training.batch_size"]
    assert (entry.origin, entry.reason) == ("deviation", UNMARKED)
    line = 1 + Path(path).read_text().splitlines().index('   "batch_size": 16,')
    assert entry.place == f"{path}:{line}:4"


@pytest.mark.parametrize("origin", ["inferred", "deviation"])
def test_a_guess_or_a_departure_without_a_reason_is_refused(tmp_path: Path, origin: str) -> None:
    text = refused(tmp_path, "wang2017", {"data": {"origin": origin, "place": "mine"}})
    assert text.endswith(f": 'data' in 'provenance': origin '{origin}' needs a reason.")


def test_a_suites_own_source_gives_its_mark_and_its_framework(tmp_path: Path) -> None:
    path = write(tmp_path, "smith2024", {})
    found = entries(path, "arl")
    assert (found["tier"].origin, found["tier"].place) == ("report", "Table 3")
    assert found["precision"].reason == "the default of JAX at the time"
    assert load_suite(path).cited == "Smith et al. 2024, Table 3"
    unknown = OWN["smith2024"] | {"framework": "unknown"}
    path = write(tmp_path, "smith2024", {}, {"smith2024": unknown})
    found = entries(path, "arl")
    assert "unknown" not in f"{found['precision'].reason} {found['engine'].reason}"
    path = write(tmp_path, "wang2017", {}, {"wang2017": OWN["smith2024"]})
    assert load_suite(path).cited == "Smith et al. 2024, Table 3"  # own before shipped


def test_a_source_that_no_file_describes_is_refused_with_those_known(tmp_path: Path) -> None:
    text = refused(tmp_path, "smyth2024", {})
    assert f"{tmp_path / 'mini.yaml'}:7:4: unknown source 'smyth2024'." in text
    assert text.endswith("Allowed: he2016, report2019, smith2024, wang2017.")


def test_what_is_wrong_in_the_own_sources_is_named_with_its_position(tmp_path: Path) -> None:
    wrong = {"smith2024": OWN["smith2024"] | {"origin": "rumour", "link": "smith.org"}}
    first, second = refused(tmp_path, "wang2017", {}, wrong).splitlines()
    assert first.startswith(f"{tmp_path / 'sources.yaml'}:1:")
    assert "'origin' in 'sources.smith2024'" in first
    assert "'link' in 'sources.smith2024' must be a link with https://" in second


@pytest.mark.parametrize(("engine", "origin"), [("eager", "inferred"), ("graph", "deviation")])
def test_the_plain_loop_is_no_departure_from_a_source_in_pytorch(
    tmp_path: Path, engine: str, origin: str
) -> None:
    own = {"smith2024": OWN["smith2024"] | {"framework": "PyTorch"}}
    found = entries(write(tmp_path, "smith2024", {}, own), "arl", engine=engine)
    assert found["engine"].origin == origin
