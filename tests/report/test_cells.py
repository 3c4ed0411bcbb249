from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from resbench.analysis.cells import Place, judge_count, judge_places
from resbench.analysis.judge import cost_of, judge, number_notes, place_notes
from resbench.analysis.results import read_results
from resbench.analysis.tables import FilledTable, fill, finished
from resbench.report.page import table_blocks
from resbench.report.render.markdown import markdown
from resbench.suite.catalog import load_suite
from resbench.suite.expand import Expanded
from tests.report import records
from tests.report.records import JPEG, suite_under

ARL, NAL = "attention-56/arl", "attention-56/nal"


@pytest.fixture
def suite(tmp_path: Path) -> str:
    """The small suite with every kind of place, as a file of its own."""
    folder = tmp_path / "suites"
    shutil.copytree(Path(__file__).parent / "suites", folder)
    return str(folder / "arms.yaml")


@pytest.fixture
def make(tmp_path: Path, suite: str) -> Callable[..., Expanded]:
    """Write finished runs of one cell, one per error, in a context."""

    def make(cell: str, *errors: float, context: Any = None, **options: Any) -> Expanded:
        expanded = suite_under(suite, **(context or {}))
        for seed, error in enumerate(errors, 1):
            records.finish(tmp_path, expanded, cell, seed, error, **options)
        return expanded

    return make


def table(tmp_path: Path, suite: str) -> FilledTable:
    return fill(load_suite(suite), read_results(tmp_path))[0]


def place(tmp_path: Path, suite: str, row: str, column: str) -> Place:
    judged = judge_places(table(tmp_path, suite))
    return next(p for p in judged if (p.row, p.column) == (row, column))


def test_a_suite_that_departs_from_its_source_is_not_judged_against_it(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    path = Path(suite)
    path.write_text(
        path.read_text().replace("  data: {name: cifar10}", "  model: {width: 0.25}", 1)
    )
    path.write_text(path.read_text().replace("base:", "base:\n  data: {name: cifar10}", 1))
    make(ARL, 5.4, 5.5, 5.6)
    found = place(tmp_path, suite, "attention-56", "arl")
    assert found.kind == "not_comparable"
    assert "the suite departs from its source, model.width" in found.text


def test_a_departure_that_an_axis_sets_is_not_judged_and_other_cells_are(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    text = Path(suite).read_text()
    text = text.replace("{model.learning: arl}", "{model.learning: arl, training.optim.lr: 0.05}")
    text += "  training.optim.lr: {origin: deviation, place: section 4, reason: it diverges}\n"
    Path(suite).write_text(text)
    make(ARL, 5.4, 5.5, 5.6)
    make(NAL, 15.0, 15.2, 15.4, train=9.1)
    found = place(tmp_path, suite, "attention-56", "arl")
    assert found.kind == "not_comparable"
    assert "the suite departs from its source, training.optim.lr" in found.text
    assert place(tmp_path, suite, "attention-56", "nal").kind == "replicated"


def test_images_that_no_source_prints_stay_so_after_a_run(tmp_path: Path) -> None:
    smoke = suite_under("smoke")
    records.finish(tmp_path, smoke, next(c.id for c in smoke.cells if c.spec), 1, 5.0)
    (filled,) = fill(smoke.loaded, read_results(tmp_path))
    assert not filled.expanded.context.data["digits"].printed


def test_a_place_has_print_ours_and_their_difference(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 5.4, 5.6, 5.8)
    found = place(tmp_path, suite, "attention-56", "arl")
    assert found.printed is not None
    assert found.printed.value == "5.50"
    assert found.values == pytest.approx((5.4, 5.6, 5.8))
    assert (found.mean, found.sd) == pytest.approx((5.6, 0.2))
    assert found.difference == pytest.approx(0.1)
    assert found.kind == "replicated"


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ((5.4, 5.5, 5.6), "replicated"),
        ((2.1, 2.2, 2.3), "better"),
        ((8.1, 8.2, 8.3), "worse"),
        ((5.2, 5.5, 5.8), "inconclusive"),
        ((5.5,), "inconclusive"),
        ((), "not_run"),
    ],
)
def test_the_verdict_of_a_place_follows_from_its_runs(
    tmp_path: Path, suite: str, make: Callable[..., Expanded], errors: tuple[float, ...], kind: str
) -> None:
    make(ARL, *errors)
    found = place(tmp_path, suite, "attention-56", "arl")
    assert found.kind == kind
    assert (found.seeds_needed is not None) == (kind == "inconclusive")


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ({"data": {"cifar10": JPEG}}, "cifar10-jpeg75 (not the printed data set)"),
        ({"scale": 0.1}, "tier paper x0.1"),
        ({"tier": "tiny"}, "tier tiny"),
        ({"overrides": (("training.optim.lr", 0.05),)}, "--set training.optim.lr=0.05"),
    ],
)
def test_only_printed_data_at_the_whole_paper_tier_is_judged(
    tmp_path: Path,
    suite: str,
    make: Callable[..., Expanded],
    context: dict[str, Any],
    reason: str,
) -> None:
    make(ARL, 5.4, 5.5, 5.6, context=context)
    found = place(tmp_path, suite, "attention-56", "arl")
    assert found.kind == "not_comparable"
    assert reason in found.text


def test_precision_and_engine_are_labelled_but_do_not_prevent_a_verdict(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 5.4, 5.5, 5.6, context={"engine": "graph", "precision": "bf16"})
    assert place(tmp_path, suite, "attention-56", "arl").kind == "replicated"
    (judged,) = [judge(t) for t in fill(load_suite(suite), read_results(tmp_path))]
    assert "bf16 · graph engine" in markdown(table_blocks(judged))


def test_missing_seeds_are_shown_beside_the_mean(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 5.4, 5.6)
    (judged,) = [judge(t) for t in fill(load_suite(suite), read_results(tmp_path))]
    assert "5.50\xa0±\xa00.14\xa0(2/5)" in markdown(table_blocks(judged))


def test_a_diverged_run_is_counted_and_never_averaged(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    expanded = make(ARL, 5.4, 5.6)
    records.diverge(tmp_path, expanded, ARL, 3)
    records.diverge(tmp_path, expanded, NAL, 1)
    found = place(tmp_path, suite, "attention-56", "arl")
    assert found.values == pytest.approx((5.4, 5.6))
    assert found.mean == pytest.approx(5.5)
    lost = place(tmp_path, suite, "attention-56", "nal")
    assert (lost.mean, lost.kind) == (None, "not_run")
    assert lost.text == "No result: 1 of 5 runs diverged."
    (judged,) = [judge(t) for t in fill(load_suite(suite), read_results(tmp_path))]
    text = markdown(table_blocks(judged))
    assert "(2/5),\xa01\xa0diverged" in text
    assert "1, 2; diverged: 3" in text


def test_like_is_set_beside_like_where_the_printed_error_is_a_training_error(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(NAL, 15.0, 15.2, 15.4, train=9.1)
    found = place(tmp_path, suite, "attention-56", "nal")
    assert found.metric == "train_top1_err"
    assert found.mean == pytest.approx(9.1)
    assert any("training error under augmentation" in note for note in place_notes(found))


def test_a_printed_number_of_unknown_split_is_never_ranked(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make("attention-92/nal", 5.0, 5.1, 5.2)
    found = place(tmp_path, suite, "attention-92", "nal")
    assert found.kind == "not_comparable"
    assert found.difference is None
    assert found.mean == pytest.approx(5.1)


def test_a_test_error_is_never_ranked_against_a_printed_training_error(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    text = Path(suite).read_text()
    Path(suite).write_text(text.replace("metric: train_top1_err, claims: test", "claims: test"))
    make(NAL, 9.0, 9.1, 9.0)
    found = place(tmp_path, suite, "attention-56", "nal")
    assert (found.metric, found.kind, found.difference) == ("test_top1_err", "not_comparable", None)
    assert "printed is the training error under augmentation, ours the test error" in found.text


def test_what_a_protocol_does_not_measure_is_said_not_invented(tmp_path: Path, suite: str) -> None:
    protocol = Path(suite).parent / "protocols" / "plain.yaml"
    protocol.write_text(protocol.read_text().replace("val_in_train: 100", "val_in_train: 0"))
    text = Path(suite).read_text()
    Path(suite).write_text(text.replace("metric: train_top1_err", "metric: val_in_train_err"))
    records.finish(tmp_path, suite_under(suite), NAL, 1, 9.0)
    found = place(tmp_path, suite, "attention-56", "nal")
    assert (found.kind, found.mean) == ("not_comparable", None)
    assert "no error on validation images that are also trained on is measured here" in found.text


def test_a_blank_printed_place_stays_blank_and_is_not_judged(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make("attention-92/arl", 5.0, 5.1)
    found = place(tmp_path, suite, "attention-92", "arl")
    assert (found.kind, found.difference) == ("shown", None)
    assert found.mean == pytest.approx(5.05)


def test_a_skipped_place_shows_print_and_why(tmp_path: Path, suite: str) -> None:
    found = place(tmp_path, suite, "other", "arl")
    assert (found.kind, found.mean) == ("skipped", None)
    assert "printed for context" in found.text
    assert place_notes(found) == [found.text]


@pytest.mark.parametrize(
    ("counted", "printed", "kind"),
    [(1_864_372, "1.9", "equal"), (1_841_242, "1.9", "differs"), (28_366_154, "28", "equal"),
     (1_850_000, "1.9", "equal"), (1_849_999, "1.9", "differs")],
)  # fmt: skip
def test_a_parameter_count_agrees_with_print_when_it_rounds_to_it(
    tmp_path: Path, suite: str, counted: int, printed: str, kind: str
) -> None:
    bare = place(tmp_path, suite, "attention-92", "params")
    assert bare.printed is not None
    changed = structs.replace(bare.printed, value=printed)
    assert judge_count(replace(bare, printed=changed), counted).kind == kind


def test_parameters_come_from_the_catalogue_before_anything_has_run(
    tmp_path: Path, suite: str
) -> None:
    assert place(tmp_path, suite, "attention-56", "params").mean == pytest.approx(1.030362)
    hundred = finished(load_suite("table2_depth"), read_results(tmp_path))[0]
    counts = {p.row: p.mean for p in judge_places(hundred) if p.column == "params"}
    assert counts["attention-92"] == pytest.approx(1.864372)
    assert counts["resnet-164"] == pytest.approx(1.726388)


def test_a_narrow_network_says_nothing_about_the_printed_size(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 50.0, context={"tier": "tiny"})
    assert place(tmp_path, suite, "attention-56", "params").kind == "not_comparable"


def test_training_time_is_shown_and_not_judged(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 5.4, 5.6)
    found = place(tmp_path, suite, "attention-56", "time")
    assert found.kind == "shown"
    assert found.mean == pytest.approx(20.0)


def test_best_on_test_stands_apart_and_decides_nothing(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 8.1, 8.2, 8.3, best=5.5)
    assert place(tmp_path, suite, "attention-56", "arl").kind == "worse"
    (judged,) = [judge(t) for t in fill(load_suite(suite), read_results(tmp_path))]
    text = markdown(table_blocks(judged))
    assert "best on test<br>(not used for verdicts)" in text
    assert "5.50" in text


def test_cost_sums_hours_and_names_devices(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 5.4, 5.6)
    make(NAL, 5.4, device="another GPU")
    cost = cost_of(table(tmp_path, suite).records)
    assert cost.runs == 3
    assert cost.device_hours == pytest.approx(3 * 1260 / 3600)
    assert cost.devices == {"a GPU": 2, "another GPU": 1}
    assert cost_of([]).images_per_s is None


def test_notes_are_numbered_in_reading_order_and_shared(tmp_path: Path, suite: str) -> None:
    notes, numbers = number_notes(judge_places(table(tmp_path, suite)))
    assert list(notes.values()) == list(range(1, len(notes) + 1))
    assert numbers["other", "nal"] == numbers["other", "time"]
    read = [n for place in judge_places(table(tmp_path, suite))
            for n in numbers[place.row, place.column]]  # fmt: skip
    assert list(dict.fromkeys(read)) == list(notes.values())


def test_every_setting_of_a_table_is_marked_and_deviations_are_named(
    tmp_path: Path, suite: str, make: Callable[..., Expanded]
) -> None:
    make(ARL, 5.4, context={"scale": 0.1, "data": {"cifar10": JPEG}})
    (judged,) = [judge(t) for t in fill(load_suite(suite), read_results(tmp_path))]
    marked = {entry.path for entry in judged.marks if entry.origin == "deviation"}
    assert {"data.id", "scale", "training.schedule.total"} <= marked
    text = markdown(table_blocks(judged))
    assert f"deviation {judged.origins['deviation']}" in text
    assert "training.schedule.total = 100" in text
    assert "Ledger of every setting" not in text
    ledger = markdown(table_blocks(judged, ledger=True))
    assert "training.bn_eps" in ledger
    assert "usual" in ledger
