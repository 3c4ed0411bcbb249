"""The protocol ledger: every hyperparameter of every run says where it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from resbench.analysis.names import source_label
from resbench.datasets import DATA_SETS
from resbench.errors import UsageError
from resbench.suite import load
from resbench.suite.expand import Context, DataChoice, Expanded, expand
from resbench.suite.load import load_suite, load_tier, suite_names
from resbench.suite.provenance import UNMARKED, Entry, ledger

DATA = {row.name: DataChoice(row.name, row.name, row.id) for row in DATA_SETS.values()}


def expanded(name: str, **context: Any) -> Expanded:
    made = Context(**{"engine": "eager", "precision": "fp32", "data": DATA, **context})
    return expand(load_suite(name), made, load_tier(made.tier))


def entries(name: str, cell: str, **context: Any) -> dict[str, Entry]:
    made = expanded(name, **context)
    return {entry.path: entry for entry in ledger(made, made.cell(cell))}


def leaf_paths(value: Any, path: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {path}
    return {leaf for key, item in value.items() for leaf in leaf_paths(item, f"{path}.{key}")}


@pytest.mark.parametrize("name", suite_names())
def test_no_hyperparameter_of_any_run_lacks_its_mark(name: str) -> None:
    made = expanded(name)
    for cell in made.cells:
        found = ledger(made, cell)
        leaves = leaf_paths(cell.spec.canonical()) if cell.spec else set()
        assert {f".{entry.path}" for entry in found} == leaves
        assert len(found) == len(leaves)
        for entry in found:
            assert entry.reason != UNMARKED, f"{name} {cell.id} {entry.path}"
            assert entry.reason or entry.origin not in {"inferred", "deviation"}


def test_a_protocol_of_another_document_departs_from_the_table_s_own() -> None:
    made = Context(engine="eager", precision="fp32", data=DATA)
    borrowed = expand(load_suite("resnet164_he2016"), made)
    own = {e.path: e.origin for e in ledger(borrowed, borrowed.cells[0])}
    loaded = borrowed.loaded
    sources = load_suite("table1_arl_vs_nal").suite.sources
    foreign = replace(loaded, suite=structs.replace(loaded.suite, sources=sources))
    moved = {e.path: e for e in ledger(replace(borrowed, loaded=foreign), borrowed.cells[0])}
    assert own["training.batch_size"] == "paper"
    assert moved["training.batch_size"].origin == "deviation"
    assert "he2016" in (moved["training.batch_size"].reason or "")


def test_no_mark_is_about_nothing() -> None:
    marks, covered = set(), set()
    for name in suite_names():
        made = expanded(name)
        suite, protocol = made.loaded.suite, made.loaded.protocol
        if not suite.train:
            continue
        marks |= {(name, mark) for mark in suite.provenance}
        marks |= {(protocol.name, mark) for mark in protocol.provenance}
        for entry in (entry for cell in made.cells for entry in ledger(made, cell)):
            layer = entry.layer.split()[0]
            file = {"suite": name, "matrix": name, "protocol": protocol.name}.get(layer)
            keys = entry.path.split(".")
            covered |= {(file, ".".join(keys[:n])) for n in range(1, len(keys) + 1)}
    assert marks - covered == set()


def test_the_longest_marked_path_decides() -> None:
    found = entries("table1_arl_vs_nal", "attention-56/arl")
    assert found["training.optim.lr"].origin == "paper"
    assert found["training.optim.decay"].origin == "inferred"
    assert found["model.mask"].origin == "paper"
    assert found["model.width"].origin == "inferred"


def test_the_last_layer_that_set_a_value_decides() -> None:
    found = entries("optimizer", "nesterov-sgd/lr-1e-1")
    assert found["training.optim.lr"].layer == "matrix lr"
    assert found["model.name"].layer == "suite"
    assert found["training.batch_size"].layer == "protocol report2019"
    changed = entries("optimizer", "nesterov-sgd/lr-1e-4", overrides=(("training.optim.lr", 0.05),))
    entry = changed["training.optim.lr"]
    assert (entry.layer, entry.origin, entry.place) == (
        "command line", "deviation", "--set training.optim.lr"
    )  # fmt: skip


def test_an_axis_of_the_table_comes_from_the_tables_source() -> None:
    found = entries("table4_noise", "noise-70/attention-92")
    assert (found["data.clean_ratio"].origin, found["data.clean_ratio"].place) == (
        "paper", "Table 5"
    )  # fmt: skip
    found = entries("table6_arl_vs_nal_report", "attention-92/nal")
    assert (found["model.learning"].origin, found["model.learning"].place) == ("report", "Table 6")


def test_every_value_that_a_tier_changes_is_a_deviation() -> None:
    cell = "attention-92/nal"
    paper = entries("table6_arl_vs_nal_report", cell)
    changed = entries("table6_arl_vs_nal_report", cell, tier="tiny")
    differing = {path for path, entry in changed.items() if entry.value != paper[path].value}
    assert len(differing) > 3
    for path in differing:
        assert changed[path].origin == "deviation", path
        assert changed[path].layer in {"tier tiny", "context"} or path == "seed"


def test_other_images_than_the_published_are_a_deviation_named_by_their_label() -> None:
    data = {"cifar10": DataChoice("cifar10", "cifar10-jpeg75", "sha256:1")}
    found = entries("table3_mask", "local", data=data)["data.id"]
    assert (found.origin, found.place) == ("deviation", "data cifar10-jpeg75")
    assert entries("table3_mask", "local")["data.id"].origin == "paper"


def test_bf16_is_a_deviation_and_fp32_is_inferred() -> None:
    assert entries("table3_mask", "local", precision="bf16")["precision"].origin == "deviation"
    assert entries("table3_mask", "local")["precision"].origin == "inferred"


def test_a_skipped_cell_has_no_hyperparameters() -> None:
    made = expanded("depth")
    assert ledger(made, made.cell("wrn-28-10/cifar10")) == []


SUITE = """\
version: 1
name: mine
title: Mine
sources: [{key: wang2017, place: Table 3}]
protocol: wang2017
base:
  data: {name: digits}
  model: {name: attention-56}
  training: {batch_size: 32}
seeds: [1]
matrix: {a: {b: {label: B}}}
table: {rows: a, columns: {error: {label: Error}}}
provenance:
  data: {origin: deviation, place: mine, reason: available}
"""


def test_a_users_unmarked_setting_is_a_deviation_with_its_position_in_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE, encoding="utf-8")
    found = entries(str(path), "b")
    assert found["data.name"].reason == "available"
    entry = found["training.batch_size"]
    assert (entry.origin, entry.reason) == ("deviation", UNMARKED)
    assert entry.place == f"{path}:9:14"


@pytest.mark.parametrize("origin", ["inferred", "deviation"])
def test_a_guess_or_a_departure_without_a_reason_is_refused(tmp_path: Path, origin: str) -> None:
    path = tmp_path / "mine.yaml"
    mark = "{origin: deviation, place: mine, reason: available}"
    path.write_text(SUITE.replace(mark, f"{{origin: {origin}, place: mine}}"), encoding="utf-8")
    with pytest.raises(UsageError, match=rf"mine\.yaml:14:3: .*origin '{origin}' needs a reason"):
        load_suite(str(path))


OWN = """\
version: 1
sources:
  smith2024: {title: Smith et al. 2024, origin: report, framework: JAX, link: null}
"""


def test_a_suites_own_source_gives_its_mark_and_its_framework(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE.replace("wang2017,", "smith2024,"), encoding="utf-8")
    (tmp_path / "sources.yaml").write_text(OWN, encoding="utf-8")
    found = entries(str(path), "b")
    assert (found["tier"].origin, found["tier"].place) == ("report", "Table 3")
    assert found["precision"].reason == "the default of JAX at the time"
    assert source_label(load_suite(str(path))) == "Smith et al. 2024, Table 3"
    (tmp_path / "sources.yaml").write_text(OWN.replace("smith2024", "wang2017"), encoding="utf-8")
    path.write_text(SUITE, encoding="utf-8")
    assert source_label(load_suite(str(path))) == "Smith et al. 2024, Table 3"  # own before shipped


@pytest.mark.parametrize("own", [None, OWN])
def test_a_source_that_no_file_describes_is_refused_with_those_known(
    tmp_path: Path, own: str | None
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE.replace("wang2017,", "smyth2024,"), encoding="utf-8")
    if own:
        (tmp_path / "sources.yaml").write_text(own, encoding="utf-8")
    known = "he2016, report2019" + (", smith2024" if own else "") + ", wang2017"
    with pytest.raises(UsageError) as error:
        load_suite(str(path))
    assert str(error.value).startswith(f"{path}:4:12: unknown source 'smyth2024'.")
    assert str(error.value).endswith(f"Allowed: {known}.")


def test_what_is_wrong_in_the_own_sources_is_named_with_its_position(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE, encoding="utf-8")
    wrong = OWN.replace("origin: report", "origin: rumour").replace("null", "smith.org")
    (tmp_path / "sources.yaml").write_text(wrong, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        load_suite(str(path))
    first, second = str(error.value).splitlines()
    assert first.startswith(f"{tmp_path / 'sources.yaml'}:3:41: 'origin' in 'sources.smith2024'")
    assert "'link' in 'sources.smith2024' must be a link with https://" in second


def test_no_python_file_names_a_source() -> None:
    """The families of networks are code; they happen to be named like the sources."""
    families = {"models", "spec.py", "bench"}
    package = Path(load.__file__).parents[1]
    titles = [source.title for name in suite_names() for source in load_suite(name).sources]
    for path in package.rglob("*.py"):
        if not families & {*path.relative_to(package).parts}:
            code = path.read_text(encoding="utf-8")
            named = [title for title in titles if f'"{title}"' in code]
            assert not named, path


@pytest.mark.parametrize(("engine", "origin"), [("eager", "inferred"), ("graph", "deviation")])
def test_the_plain_loop_is_no_departure_from_a_source_in_pytorch(engine: str, origin: str) -> None:
    made = expanded("table3_mask", engine=engine)
    source = structs.replace(made.loaded.sources[0], framework="PyTorch")
    made = replace(made, loaded=replace(made.loaded, sources=(source,)))
    found = {entry.path: entry for entry in ledger(made, made.cell("local"))}
    assert found["engine"].origin == origin
    assert entries("table3_mask", "local", engine=engine)["engine"].origin == "deviation"
