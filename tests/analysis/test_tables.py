from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resbench.analysis.declared import published_choice
from resbench.analysis.judge import report
from resbench.analysis.names import set_label
from resbench.analysis.results import Results, identity_of, read_results
from resbench.analysis.tables import TableRuns, fill, orphans
from resbench.analysis.values import judge_values
from resbench.store.layout import RunFolder
from resbench.store.records import write_spec
from resbench.suite.expand import Context, expand
from resbench.suite.load import load_suite, load_tier
from resbench.suite.spec import NUMERICS, key_of
from tests import factory, mini
from tests.factory import JPEG, suite_under

SUITE = "table3_mask"
CELL = "encoder-decoder"


def tables(results: Path, suite: str = SUITE) -> list[TableRuns]:
    return fill(load_suite(suite), read_results(results))


def errors(table: TableRuns, cell: str = CELL) -> list[float | None]:
    return [run.result.test_top1_err for run in table.cells[cell].done]


def test_an_empty_or_missing_folder_gives_one_empty_table_as_declared(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        (table,) = tables(folder)
        assert not table.keys
        assert table.expanded.context.tier == "paper"
        assert {choice.published for choice in table.expanded.context.data.values()} == {True}
        assert table.cells[CELL].seeds == table.expanded.seeds


DIFFERENT: dict[str, dict[str, Any]] = {
    "data": {"data": {"cifar10": JPEG}},
    "tier": {"tier": "tiny"},
    "engine": {"engine": "graph"},
    "precision": {"precision": "bf16"},
    "override": {"overrides": (("training.optim.lr", 0.05),)},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_seeds_of_two_settings_are_never_averaged(tmp_path: Path, what: str) -> None:
    factory.finish(tmp_path, suite_under(SUITE), CELL, 1, 5.0)
    factory.finish(tmp_path, suite_under(SUITE, **DIFFERENT[what]), CELL, 2, 9.0)
    first, second = tables(tmp_path)
    assert (errors(first), errors(second)) == ([5.0], [9.0])
    means = [next(p for p in judge_values(t) if p.row == CELL).mean for t in (first, second)]
    assert means == [5.0, 9.0]


def test_the_table_as_published_comes_first_then_longer_schedules_then_other_tiers(
    tmp_path: Path,
) -> None:
    contexts: list[dict[str, Any]] = [{"tier": "tiny"}, {}]
    for total in (170_000, 320_000):
        contexts.insert(1, {"overrides": (("training.schedule.total", total),)})
    for number, changes in enumerate(contexts):
        factory.finish(tmp_path, suite_under(SUITE, **changes), CELL, 1, 5.0 + number)
    found = [(t.expanded.context.tier, *t.expanded.context.overrides) for t in tables(tmp_path)]
    longer = [("paper", ("training.schedule.total", total)) for total in (320_000, 170_000)]
    assert found == [("paper",), *longer, ("tiny",)]


def test_an_override_is_written_so_that_it_is_read_again_as_it_was() -> None:
    given = (("a", 5), ("b", "5"), ("c", "true"), ("d", "text"), ("e", None), ("f", 0.05))
    written = '--set a=5 --set b="5" --set c="true" --set d=text --set e=null --set f=0.05'
    assert set_label(given) == written


def test_an_override_that_changes_nothing_does_not_show_a_run_twice(tmp_path: Path) -> None:
    same = suite_under(SUITE, overrides=(("training.batch_size", 64),))
    plain = factory.finish(tmp_path, suite_under(SUITE), CELL, 1, 5.0)
    spec = same.cell(CELL).at_seed(1)
    assert spec.key == plain.key
    factory.finish(tmp_path, same, CELL, 2, 6.0)
    (table,) = tables(tmp_path)
    assert errors(table) == [5.0, 6.0]


def test_a_run_serves_every_suite_whose_cell_has_its_key(tmp_path: Path) -> None:
    factory.finish(tmp_path, suite_under(SUITE), CELL, 1, 5.0)
    found = read_results(tmp_path)
    shown = [fill(load_suite(name), found)[0].records for name in (SUITE, "table1_arl_vs_nal")]
    assert [len(runs) for runs in shown] == [1, 1]
    assert fill(load_suite("table4_noise"), found)[0].records == []


def test_seeds_beyond_the_suite_count_and_missing_ones_are_known(tmp_path: Path) -> None:
    for seed in (2, 9):
        factory.finish(tmp_path, suite_under(SUITE), CELL, seed, 5.0)
    (table,) = tables(tmp_path)
    assert table.cells[CELL].seeds == (1, 2, 3, 9)
    assert table.cells["local"].seeds == (1, 2, 3)


def test_runs_stand_in_the_order_of_their_seeds_and_a_diverged_one_is_not_missing(
    tmp_path: Path,
) -> None:
    suite = suite_under(SUITE)
    for seed in (4, 1, 6, 3, 5):
        factory.finish(tmp_path, suite, CELL, seed, float(seed))
    factory.diverge(tmp_path, suite, CELL, 2)
    (table,) = tables(tmp_path)
    assert errors(table) == [1.0, 3.0, 4.0, 5.0, 6.0]
    assert table.cells[CELL].missing == []
    assert table.cells["local"].missing == [1, 2, 3]


def test_two_data_sets_of_one_label_are_two_settings(tmp_path: Path) -> None:
    for number in (3, 4):
        choice = replace(JPEG, id=f"sha256:{str(number) * 64}")
        suite = suite_under(SUITE, data={"cifar10": choice})
        factory.finish(tmp_path, suite, CELL, 1, 5.0 + number)
    assert sorted(errors(table) for table in tables(tmp_path)) == [[8.0], [9.0]]
    found = report([SUITE], read_results(tmp_path))
    assert len({table.setting.id for table in found.tables}) == 2


def test_a_suite_over_two_data_sets_takes_both_into_one_table(tmp_path: Path) -> None:
    suite = suite_under("table2_depth")
    factory.finish(tmp_path, suite, "attention-92/cifar10", 1, 5.0)
    factory.finish(tmp_path, suite, "attention-92/cifar100", 1, 21.0)
    (table,) = tables(tmp_path, "table2_depth")
    of_each = [errors(table, f"attention-92/{data}") for data in ("cifar10", "cifar100")]
    assert of_each == [[5], [21]]


def test_several_versions_of_two_data_sets_give_few_tables_and_show_every_run(
    tmp_path: Path,
) -> None:
    made = replace(JPEG, name="cifar100", label="made100", id=f"sha256:{'5' * 64}")
    head = replace(JPEG, label="head", id=f"sha256:{'4' * 64}")
    for number, data in enumerate([{}, {"cifar10": JPEG, "cifar100": made}, {"cifar10": head}]):
        suite = suite_under("table2_depth", data=data)
        factory.finish(tmp_path, suite, "attention-92/cifar10", 1, 5.0 + number)
        if "cifar10" not in data or "cifar100" in data:
            factory.finish(tmp_path, suite, "attention-92/cifar100", 1, 21.0 + number)
    found = tables(tmp_path, "table2_depth")
    labels = [[c.label for c in t.expanded.context.data.values()] for t in found]
    assert labels == [["cifar10", "cifar100"], ["cifar10-jpeg75", "made100"], ["head", "made100"]]
    assert orphans(found, read_results(tmp_path)) == []


def test_a_data_set_is_the_published_one_by_its_identity() -> None:
    assert published_choice("cifar10").published
    assert not JPEG.published
    assert not published_choice("digits").published


def test_unfinished_runs_are_known_but_make_no_table_of_a_report(tmp_path: Path) -> None:
    factory.begin(tmp_path, suite_under(SUITE, tier="tiny"), CELL, 1)
    (table,) = fill(load_suite(SUITE), read_results(tmp_path))
    assert [run.seed for run in table.cells[CELL].unfinished] == [1]
    found = report([SUITE], read_results(tmp_path))
    (shown,) = found.tables
    assert (shown.setting.context.tier, len(shown.runs)) == ("paper", 0)
    assert found.unfinished == {SUITE: 1}


def test_a_run_of_another_numerics_version_is_in_no_table(tmp_path: Path) -> None:
    record = factory.finish(tmp_path, suite_under(SUITE), CELL, 1, 5.0)
    found = read_results(tmp_path)
    runs = {identity_of(record.spec, NUMERICS + 1): (record,)}
    old = Results(found.path, found.scan, found.settings, runs)
    (table,) = fill(load_suite(SUITE), old)
    assert not table.keys
    assert [run.key for run in orphans([table], old)] == [record.key]


@pytest.mark.parametrize(
    "changes",
    [{}, {"suite": "of another format"}, {"tier": 7}, {"data": {}}, {"engine": "steam"},
     {"precision": 0.5}, {"overrides": [["only a key"]]}],
    ids=str,
)  # fmt: skip
def test_a_setting_that_cannot_be_read_is_named_and_the_run_is_in_no_table(
    tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, whole = factory.stored_context, changes.keys() <= {"suite"}
    monkeypatch.setattr(
        factory, "stored_context", lambda *a: changes if whole else plain(*a) | changes
    )
    factory.finish(tmp_path, suite_under(SUITE), CELL, 1, 5.0)
    found = read_results(tmp_path)
    assert len(found.problems) == 1
    assert "its setting is not readable" in found.problems[0]
    assert not fill(load_suite(SUITE), found)[0].keys


def test_a_run_of_a_data_set_that_is_gone_is_named(tmp_path: Path) -> None:
    spec, context = factory.spec_of(), factory.context_of()
    spec["data"]["name"] = "imagenet"
    context |= {"engine": "eager", "precision": "fp32"}
    context["data"] = {"imagenet": {"name": "imagenet", "label": "imagenet", "id": "x"}}
    write_spec(RunFolder(tmp_path, key_of(spec)), spec, context)
    (problem,) = read_results(tmp_path).problems
    assert "its setting is not readable (data set 'imagenet')" in problem


def test_runs_of_a_tier_that_is_gone_are_orphans_and_break_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = factory.stored_context
    monkeypatch.setattr(factory, "stored_context", lambda *a: plain(*a) | {"tier": "gone"})
    record = factory.finish(tmp_path, suite_under(SUITE), CELL, 1, 5.0)
    found = read_results(tmp_path)
    assert [run.key for run in orphans(fill(load_suite(SUITE), found), found)] == [record.key]


def test_an_override_of_the_data_set_moves_the_whole_suite_to_it(tmp_path: Path) -> None:
    data = {"cifar100": published_choice("cifar100")}
    moved = suite_under(SUITE, overrides=(("data.name", "cifar100"),), data=data)
    factory.finish(tmp_path, moved, CELL, 1, 30.0)
    (table,) = tables(tmp_path)
    assert errors(table) == [30.0]
    assert list(table.expanded.context.data) == ["cifar100"]


@pytest.mark.parametrize(
    ("tier", "override"),
    [
        ("set: {data.name: cifar100}", ()),
        ("families: {wang2017: {data.name: cifar100}, report2019: {}}", ()),
        ("set: {}", (("data", {"name": "cifar100"}),)),
    ],
)
def test_every_layer_may_choose_the_data_set(
    tmp_path: Path, tier: str, override: tuple[tuple[str, Any], ...]
) -> None:
    suite = mini.suite_of()
    suite["matrix"]["learning"]["nal"]["set"] = {"model": mini.REPORT["model"]}
    suite_file = mini.write_suite(tmp_path, suite)
    (tmp_path / "tiers").mkdir()
    head = "version: 1\nname: mine\ntitle: Mine\ndescription: Mine.\n"
    (tmp_path / "tiers" / "mine.yaml").write_text(head + tier)
    data = {name: published_choice(name) for name in ("cifar100", "digits")}
    context = Context("eager", "fp32", data, "mine", override)
    mine = expand(load_suite(str(suite_file)), context, load_tier("mine", suite_file))
    for cell in mine.cells:
        factory.finish(tmp_path / "results", mine, cell.id, 1, 5.0)
    (table,) = tables(tmp_path / "results", str(suite_file))
    assert [errors(table, cell.id) for cell in mine.cells] == [[5.0], [5.0]]
    used = {cell.spec.data.name for cell in mine.cells if cell.spec}
    assert table.expanded.context.data.keys() == used
